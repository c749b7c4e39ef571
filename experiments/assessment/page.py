"""The page of an assessment: the answer first, and then the figures that it rests on."""

import shlex
from collections.abc import Sequence

from terrycloth.experiments.assessment.assess import TIMES_AS_MANY, Assessment
from terrycloth.experiments.assessment.choice import EPSILONS, NEAR
from terrycloth.experiments.assessment.parts import FOR_THE_BRAND, interval, what_is_shown, what_was_read
from terrycloth.experiments.assessment.period import Measured
from terrycloth.experiments.assessment.verdict import difference
from terrycloth.experiments.evaluation.bootstrap import Difference
from terrycloth.experiments.pages.chart import Chart, Level, Line, Mark, Step
from terrycloth.experiments.pages.page import Commands, Page, Part, Section, Tile
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
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
            Tile(found.private.of_100, "find what they then buy", f"privately, at ε = {asked.epsilon:g}"),
            Tile(floor.of_100, f"find it among {label}"),
            Tile(
                f"{rounded_up(100 * found.caught[asked.epsilon])} of 100",
                "are recognised by an attacker, at most",
                "who is wrong about 1 in 100 others",
            ),
            Tile(f"{data.events.num_devices:,}", "shoppers", f"{found.later.tested:,} of them tested"),
        ],
        chart=cost_chart(found),
        sections=[
            Section("What was read", [*what_was_read(data, found.identifying), columns_table(found)]),
            Section("Would it help?", would_it_help(found)),
            Section("What does privacy cost here?", what_privacy_costs(found)),
            Section("What would a shopper see?", what_is_shown(found.made_up)),
            Section("What next?", what_next(found, source)),
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
        title="What does privacy cost here?",
        summary="Out of 100 shoppers, how many find something that they then buy among ten recommendations.",
        x_label="ε (smaller promises more)",
        y_label="of 100 shoppers",
        lines=lines,
        levels=levels,
        floor=steps,
        floor_label="no other shopper's data needed up to here",
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
                Cell("needed" if each.needed else "could be left out at no measurable loss"),
            ]
        )
        for each in found.columns
    ]
    caption = (
        f"What each column adds to the {found.model} model at ε = {EPSILONS[0]:g}, in the period before "
        "the test. The shopper, the item and the date are always needed."
    )
    return Table(
        caption, [Column("without"), Column("of 100 shoppers", number=True), Column("so it is")], entries
    )


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
        f"Ten recommendations to each of {found.later.tested:,} shoppers. Differences are paired by shopper, "
        "with 95% intervals.",
        [
            Column("recommender"),
            Column("of 100 shoppers find something", number=True),
            Column("private minus this", number=True),
            Column("HR@10", number=True),
        ],
        entries,
    )
    return [found.verdict.sentence, table, found.later.split.rule.sentence]


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
    near = f"{1 - NEAR:.0%}"
    how = (
        f"The smallest ε, and then the least trust, that keeps within {near} of the best model without "
        "privacy was chosen on the period before the test."
        if choice.near
        else f"On the period before the test, no promise kept within {near} of the best model without "
        "privacy, so the most accurate one was chosen."
    )
    return [
        f"{how} It is ε = {choice.asked.epsilon:g} with {choice.asked.trust} trust. What was chosen by "
        "looking at purchases, this included, is not covered by ε.",
        found.promise.sentence(),
        table,
        "An attacker who sees all that is released, and knows everything but whether one shopper is in the "
        "data, recognises at most this share of the shoppers, if they are wrong about 1% of the others.",
    ]


def what_next(found: Assessment, source: Sequence[str]) -> list[Part]:
    """Return the commands that go further."""
    data, asked = shlex.join(source), found.choice.asked
    return [
        Commands(
            [
                f"terry simulate {data} --model {found.model} --unit shopper --trust {asked.trust} "
                f"--epsilon {asked.epsilon:g}",
                f"terry frontier {data} --model {found.model} --unit shopper --trust central "
                "--epsilon 0.5,1,2,4,8,inf --split date,next-visit",
                "terry report latest",
                "terry datasheet latest",
            ]
        )
    ]
