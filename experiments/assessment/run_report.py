"""The page of a finished run, for people who did not make it."""

from collections.abc import Sequence

from terrycloth.experiments.assessment.alternatives import FLOORS
from terrycloth.experiments.assessment.finished_run import FinishedRun
from terrycloth.experiments.assessment.groups import GroupAccuracy
from terrycloth.experiments.assessment.parts import FOR_THE_BRAND, what_is_shown, what_was_read
from terrycloth.experiments.assessment.period import HIT
from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.pages.chart import Chart, Level, Line, Mark, Step
from terrycloth.experiments.pages.page import Commands, Page, Part, Section, Tile
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.experiments.reports.attacker_tile import attacker_tile
from terrycloth.experiments.reports.terminal import reading
from terrycloth.experiments.runs.result import Accuracy
from terrycloth.models.privacy.promise import rounded_up


def run_page(run: FinishedRun) -> Page:
    """Return the page of a run."""
    result = run.result
    return Page(
        title=f"{result.data.name}: {result.model} on {result.data.devices:,} devices",
        question="What does this recommender do for shoppers, and what was promised to them?",
        answer=answer(run),
        tiles=tiles(run),
        chart=chart(run),
        sections=[
            Section("What was read", what_was_read(run.dataset, run.identifying)),
            Section("Does it help?", does_it_help(run)),
            Section("What is promised?", [result.promise.sentence()]),
            Section("For whom does it work?", [groups_table(run.groups)] if run.groups else []),
            Section("What would a shopper see?", what_is_shown(run.made_up)),
            Section(
                "What next?",
                [Commands([f"terry compare {run.path} OTHER-RUN", f"terry datasheet {run.path}"])],
            ),
        ],
        footer=f"{FOR_THE_BRAND} {result.data.split_sentence}",
    )


def answer(run: FinishedRun) -> str:
    """Return what the run reaches beside its best floor, and its promise in short."""
    result = run.result
    promise = result.promise
    kept = (
        "without a promise of privacy"
        if promise.epsilon is None
        else f"under ε = {rounded_up(promise.epsilon)} at {promise.unit} level with {promise.trust} trust"
    )
    floors = {FLOORS[name]: of_100(row) for name, row in result.baselines.found.items() if name in FLOORS}
    known = {label: figure for label, figure in floors.items() if figure is not None}
    text = f"{written(of_100(result.metrics))} shoppers find something that they then buy among ten, {kept}"
    if not known:
        return f"{text}."
    best = max(known, key=lambda label: known[label])
    return f"{text}; with {best} it is {written(known[best])}."


def tiles(run: FinishedRun) -> list[Tile]:
    """Return the key numbers."""
    result = run.result
    found = [
        Tile(
            written(of_100(result.metrics)),
            "find something that they then buy",
            f"{result.data.tested:,} tested",
        )
    ]
    popular = result.baselines.of("popularity")
    if popular is not None:
        found.append(Tile(written(of_100(popular)), "find it among best sellers"))
    if run.caught is not None:
        found.append(attacker_tile(run.caught, result.promise.unit))
    return [*found, Tile(f"{result.data.devices:,}", "devices")]


def chart(run: FinishedRun) -> Chart | None:
    """Return the run beside everything that it is compared with; None if it was not measured."""
    result = run.result
    own, epsilon = of_100(result.metrics), result.promise.epsilon
    if own is None:
        return None
    levels = {label_of(name): of_100(row) for name, row in result.baselines.found.items()}
    nothing = (
        levels.pop(label_of(NOTHING_RELEASED), None) if NOTHING_RELEASED in result.baselines.found else None
    )
    place = 1.0 if epsilon is None else epsilon
    tick = "no promise" if epsilon is None else f"ε = {rounded_up(epsilon)}"
    return Chart(
        name="run",
        title="How many shoppers find something?",
        summary="Out of 100 shoppers, how many find something that they then buy among ten recommendations.",
        x_label="promise",
        y_label="of 100 shoppers",
        lines=[Line(f"this run, {result.model}", [Mark(place, own)], private=epsilon is not None)],
        levels=[Level(label, figure) for label, figure in levels.items() if figure is not None],
        floor=[] if nothing is None else [Step(0.5 * place, 2.0 * place, nothing)],
        floor_label="no other shopper's data needed up to here",
        ticks={place: tick},
        log_x=True,
        alternative=f"{tick}: {own:.1f} of 100",
    )


def of_100(accuracy: Accuracy) -> float | None:
    """Return how many of 100 shoppers find something; None if that was not measured."""
    share = accuracy.full.get(HIT)
    return None if share is None else 100.0 * share


def written(figure: float | None) -> str:
    """Return a figure for a sentence."""
    return "An unknown number of 100" if figure is None else f"{figure:.1f} of 100"


def does_it_help(run: FinishedRun) -> list[Part]:
    """Return what the terminal says about the run, and every recommender beside it."""
    result = run.result
    rows: dict[str, Accuracy] = {f"this run, {result.model}": result.metrics}
    rows |= {label_of(name): row for name, row in result.baselines.found.items()}
    entries = [
        Entry([Cell(label), *(figure(row, name) for name in (HIT, "hr@10", "ndcg@10"))])
        for label, row in rows.items()
    ]
    table = Table(
        f"Measured on {result.data.tested:,} shoppers. {result.data.split_sentence}",
        [
            Column("recommender"),
            Column("share of shoppers who find something", number=True),
            Column("HR@10", number=True),
            Column("NDCG@10", number=True),
        ],
        entries,
    )
    said = [line for line in reading(result) if line != result.promise.sentence()]
    return [table, *said]


def figure(row: Accuracy, metric: str) -> Cell:
    """Return one figure as a cell."""
    value = row.full.get(metric)
    return Cell("–", 0.0) if value is None else Cell(f"{value:.3f}", value)


def groups_table(groups: Sequence[GroupAccuracy]) -> Table:
    """Return accuracy by group of shoppers."""
    return Table(
        "Of 100 shoppers of each group, how many find something among ten. Smaller groups are not shown.",
        [
            Column("by"),
            Column("group"),
            Column("shoppers", number=True),
            Column("of 100 find something", number=True),
            Column("standard error", number=True),
        ],
        [
            Entry(
                [
                    Cell(each.attribute),
                    Cell(each.group),
                    Cell(f"{each.shoppers:,}", each.shoppers),
                    Cell(f"{each.found:.1f}", each.found),
                    Cell(f"{each.error:.1f}", each.error),
                ]
            )
            for each in groups
        ],
    )
