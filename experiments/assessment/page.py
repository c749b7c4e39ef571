"""The page of an assessment: the answer first, and then the figures that it rests on."""

import shlex
from collections.abc import Sequence

from terrycloth.experiments.assessment.assess import TIMES_AS_MANY, Assessment
from terrycloth.experiments.assessment.choice import EPSILONS, LEAST_TRUST_FIRST
from terrycloth.experiments.assessment.columns import WithoutColumn
from terrycloth.experiments.assessment.parts import (
    FOR_THE_BRAND,
    PROMISED,
    interval,
    what_is_shown,
    what_was_read,
)
from terrycloth.experiments.assessment.period import Measured
from terrycloth.experiments.assessment.verdict import difference
from terrycloth.experiments.evaluation.bootstrap import Difference
from terrycloth.experiments.evaluation.near_best import NEAR
from terrycloth.experiments.pages.chart import Chart, Level, Line, Mark, Step
from terrycloth.experiments.pages.page import Commands, Page, Part, Section, Terms, Tile
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.experiments.reports.attacker_tile import attacker_tile
from terrycloth.models.privacy.promise import rounded_up

QUESTION = "Can we protect privacy while we personalise?"
NOTHING_RELEASED = "items like those each shopper bought"


def assessment_page(found: Assessment, source: Sequence[str]) -> Page:
    """Return the page of an assessment. source: the words of the command line that name the data."""
    data = found.later.dataset
    label, floor = max(found.floors.items(), key=lambda row: row[1].per_100)
    asked = found.choice.asked
    return Page(
        title=f"{data.name}: {data.events.num_devices:,} shoppers, {len(data.catalogue):,} items",
        question=QUESTION,
        answer=found.verdict.sentence,
        tiles=[
            Tile(
                found.private.of_100,
                "find something that they then buy",
                f"privately, at ε = {asked.epsilon:g}; {found.later.tested:,} were tested",
            ),
            Tile(floor.of_100, f"find it among {label}"),
            attacker_tile(found.caught[asked.epsilon], "shopper"),
            Tile(f"{data.events.num_devices:,}", "shoppers in the data"),
        ],
        chart=cost_chart(found),
        sections=[
            Section("What was read", [*what_was_read(data, found.identifying), columns_table(found)]),
            Section("Would it help?", would_it_help(found)),
            Section("What does privacy cost here?", what_privacy_costs(found)),
            Section("What would a shopper see?", what_is_shown(found.made_up)),
            Section("What next?", what_next(found, source)),
            Section("Words", [Terms(WORDS)]),
        ],
        footer=f"{FOR_THE_BRAND} {found.later.split.rule.sentence}",
    )


def cost_chart(found: Assessment) -> Chart:
    """Return the chart of accuracy by ε, at this number of shoppers and at more."""
    names = {1: "this many shoppers", 10: "ten times as many", 100: "a hundred times as many"}
    lines = [
        Line(
            names[times],
            [Mark(epsilon, found.at_sizes[epsilon][times].per_100) for epsilon in sorted(EPSILONS)],
            private=True,
            dashed=times > 1,
        )
        for times in TIMES_AS_MANY
    ]
    floors = dict(found.floors)
    nothing = floors.pop(NOTHING_RELEASED, None)
    _, unprotected = found.unprotected
    levels = [Level(name, measured.per_100) for name, measured in floors.items()]
    levels.append(Level("without privacy", unprotected.per_100))
    steps = [] if nothing is None else [Step(min(EPSILONS), max(EPSILONS), nothing.per_100)]
    return Chart(
        name="cost",
        title="How many find something at each ε?",
        summary="Out of 100 shoppers, how many find something that they then buy among ten recommendations.",
        x_label="ε: the smaller, the more private",
        y_label="of 100 shoppers",
        lines=lines,
        levels=levels,
        floor=steps,
        floor_label="items like their own: needs no other shopper's data",
        ticks={epsilon: f"{epsilon:g}" for epsilon in EPSILONS},
        names={epsilon: f"ε = {epsilon:g}" for epsilon in EPSILONS},
        log_x=True,
        note="Figures for more shoppers are estimates: the present shoppers are trained with the smaller "
        "share of noise that more shoppers like them would leave.",
        alternative="; ".join(
            f"ε = {epsilon:g}: {found.at_sizes[epsilon][1].per_100:.1f} of 100" for epsilon in EPSILONS
        ),
    )


def columns_table(found: Assessment) -> Table:
    """Return the table of what the model loses without each column."""
    entries = [
        Entry(
            [
                Cell(each.column),
                Cell(interval(each.change), each.change.mean),
                Cell(use_of(each)),
            ]
        )
        for each in found.columns
    ]
    caption = (
        f"How many more of 100 shoppers find something without each column (model: {found.model}, ε = "
        f"{EPSILONS[0]:g}, in the period before the test). The shopper, the item and the date are always "
        "needed."
    )
    return Table(caption, [Column("without"), Column("change", number=True), Column("so it is")], entries)


def use_of(column: WithoutColumn) -> str:
    """Return whether a column is needed, in words."""
    if column.change.low == column.change.high == 0.0:
        return "not used by this model, so it can be left out"
    return "needed" if column.needed else "could be left out at no measurable loss"


def would_it_help(found: Assessment) -> list[Part]:
    """Return the private model beside everything that it is compared with, paired by shopper."""
    label, unprotected = found.unprotected
    rows: list[tuple[str, Measured]] = [
        (each.label, each.later) for each in found.alternatives if each.label != label
    ]
    entries = [row(f"private, ε = {found.choice.asked.epsilon:g}", found.private, None)]
    entries += [row(name, measured, difference(found.private, measured)) for name, measured in rows]
    entries.append(row(f"without privacy: {label}", unprotected, difference(found.private, unprotected)))
    table = Table(
        f"Ten recommendations to each of {found.later.tested:,} shoppers. Differences are paired by "
        "shopper, with 95% intervals, and computed before rounding.",
        [
            Column("recommender"),
            Column("of 100 shoppers find something", number=True),
            Column("private minus this", number=True),
            Column("HR@10", number=True),
        ],
        entries,
    )
    left_out = [f"Not compared: {reason}." for reason in found.left_out]
    return [found.verdict.sentence, table, found.later.split.rule.sentence, *left_out]


def row(name: str, measured: Measured, change: Difference | None) -> Entry:
    """Return one row of the comparison."""
    apart = Cell("–", 0.0) if change is None else Cell(interval(change), change.mean)
    return Entry(
        [
            Cell(name),
            Cell(f"{measured.per_100:.1f}", measured.per_100),
            apart,
            Cell(f"{measured.hit_rate:.3f}", measured.hit_rate),
        ]
    )


def what_privacy_costs(found: Assessment) -> list[Part]:
    """Return accuracy by ε and number of shoppers, what an attacker can do, and how ε was chosen."""
    choice = found.choice
    entries = [
        Entry(
            [
                Cell(f"{epsilon:g}", epsilon),
                Cell(f"{rounded_up(100 * found.caught[epsilon])}%", found.caught[epsilon]),
                *(
                    Cell(
                        f"{found.at_sizes[epsilon][times].per_100:.1f}",
                        found.at_sizes[epsilon][times].per_100,
                    )
                    for times in TIMES_AS_MANY
                ),
            ]
        )
        for epsilon in sorted(EPSILONS)
    ]
    shoppers = found.later.dataset.events.num_devices
    table = Table(
        f"Of 100 shoppers, how many find something, with {choice.asked.trust} trust.",
        [
            Column("ε", number=True),
            Column("an attacker recognises at most", number=True),
            *(Column(f"{times * shoppers:,} shoppers", number=True) for times in TIMES_AS_MANY),
        ],
        entries,
    )
    earlier = f"{choice.tried[choice.asked]:.1f} against {choice.best:.1f} of 100 shoppers"
    near = f"{1 - NEAR:.0%}"
    how = (
        "The promise was chosen on the period before the test: the strongest one (the smallest ε, and then "
        f"the fewest parties to trust) that keeps within {near} of the best model without privacy, {earlier} "
        "there."
        if choice.near
        else f"On the period before the test, no promise kept within {near} of the best model without "
        f"privacy, so the most accurate one was chosen: {earlier} there."
    )
    not_tried = [trust for trust in LEAST_TRUST_FIRST if trust not in {each.trust for each in choice.tried}]
    if not_tried:
        how += f" ({' and '.join(not_tried)} trust was not tried: with this model it takes too long here.)"
    return [
        f"{how} It is ε = {choice.asked.epsilon:g} with {choice.asked.trust} trust. What was chosen by "
        "looking at purchases, this included, is not covered by ε.",
        f"{PROMISED} {found.promise.sentence()}",
        table,
        "An attacker who sees all that is released, and knows everything but whether one shopper is in the "
        "data, recognises at most this share of the shoppers, if they are wrong about 1% of the others.",
    ]


def what_next(found: Assessment, source: Sequence[str]) -> list[Part]:
    """Return the commands that go further, each with what it is for."""
    data, asked = shlex.join(source), found.choice.asked
    promise = f"--model {found.model} --unit shopper"
    return [
        "Train this model once as a federation, and keep it with its promise:",
        Commands([f"terry simulate {data} {promise} --trust {asked.trust} --epsilon {asked.epsilon:g}"]),
        "Write that run up, for colleagues and as a model card:",
        Commands(["terry report latest", "terry datasheet latest"]),
        "Measure every ε with several seeds and all comparisons, over two ways of testing:",
        Commands(
            [f"terry frontier {data} {promise} --trust central --epsilon 1,2,4,8,inf --split date,next-visit"]
        ),
    ]


WORDS = {
    "ε": "how much a promise of privacy allows to be learned of one shopper: the smaller, the less",
    "δ": "the small chance with which the promise may fail",
    "central trust": "the server adds the noise, so it is trusted; everyone who sees the model is not",
    "distributed trust": "each device adds a share of the noise, and the server sees only sums",
    "local trust": "each device adds all of the noise, so that nobody has to be trusted",
    "EASE": "a strong published model that is trained on all purchases in one place, without privacy",
    "HR@10": "the share of what a shopper then bought that is among the ten recommendations",
}
