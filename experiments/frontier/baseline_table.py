"""The page's table of what the points are held against: a line a baseline, or a baseline and promise."""

import math
from dataclasses import dataclass

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.evaluation.floors import FLOORS, PRIVATE
from terrycloth.experiments.frontier.points import Federation, Point, Spread
from terrycloth.experiments.frontier.table import ABOUT, PROMISING, SAMPLED
from terrycloth.experiments.frontier.table_cell import Cell, measured
from terrycloth.models.privacy.promise import rounded_up

HEADERS = ("data", "split", "devices", "baseline", "kind", "unit", "trust", "ε", "δ", "HR@10", "NDCG@10")
SAMPLED_HEADERS = ("HR@10 of 100", "NDCG@10 of 100")


@dataclass(frozen=True)
class BaselineLine:
    """One line: its cells in the order of HEADERS, and what the baseline is, or promises."""

    cells: list[Cell]
    about: str


def metrics(published: bool) -> tuple[str, ...]:
    """The columns that are shown; published: also those against 99 sampled negatives."""
    return ("hr@10", "ndcg@10", *(SAMPLED if published else ()))


def headers(published: bool) -> tuple[str, ...]:
    """Of the table."""
    return (*HEADERS, *(SAMPLED_HEADERS if published else ()), "seeds")


def baseline_lines(federation: Federation, published: bool) -> list[BaselineLine]:
    """Those without a promise first, then the private ones by promise and ε; none that was not found."""
    lines = []
    for name in BASELINES:
        point = federation.beside(name)
        if point is not None:
            chosen = point.of(f"{name}_settings")
            about = f"{ABOUT[name]} No promise." + (f" Chosen on validation: {chosen}." if chosen else "")
            lines.append(level_line(federation, label_of(name), name, point, about, published))
    for model in dict.fromkeys(point.of("model") for point in federation.points):
        point = federation.beside("central", model)
        if point is not None:
            about = "The same model, trained on all events in one place; of several, the best. No promise."
            lines.append(level_line(federation, f"central {model}", "central", point, about, published))
    for baseline in PROMISING:
        for curve in federation.curves(baseline):
            name = ", ".join(filter(None, (label_of(baseline), curve.model)))
            lines += [private_line(federation, name, baseline, point, published) for point in curve.points]
    return lines


def level_line(
    federation: Federation, name: str, prefix: str, point: Point, about: str, published: bool
) -> BaselineLine:
    """A baseline that is the same beside every promise, found once."""
    found = [None if (value := point.of(f"{prefix}_{metric}")) is None else Spread(value, value, value)
             for metric in metrics(published)]  # fmt: skip
    promise = [Cell("–", "", number=False), Cell("–", "", number=False), Cell("∞", 1e9), Cell("–", 0.0)]
    return BaselineLine(
        [*named(federation, name, prefix), *promise, *map(measured, found), Cell("1", 1)], about
    )


def private_line(
    federation: Federation, name: str, prefix: str, point: Point, published: bool
) -> BaselineLine:
    """A baseline under the promise of a point, a release a seed."""
    epsilon, delta = point.epsilon, point.of("delta")
    assert math.isfinite(epsilon)
    promise = [
        Cell(point.of("unit"), point.of("unit"), number=False),
        Cell(point.of("trust"), point.of("trust"), number=False),
        Cell(f"{epsilon:g}", epsilon),
        Cell(rounded_up(delta), delta),
    ]
    found = [measured(point.spread(f"{prefix}_{metric}")) for metric in metrics(published)]
    seeds = sum(row[f"{prefix}_hr@10"] is not None for row in point.rows)
    return BaselineLine(
        [*named(federation, name, prefix), *promise, *found, Cell(str(seeds), seeds)],
        point.of(f"{prefix}_promise"),
    )


def named(federation: Federation, name: str, prefix: str) -> list[Cell]:
    """The first five cells of a line."""
    devices, kind = federation.devices, "floor" if prefix in (*FLOORS, *PRIVATE) else "strong"
    return [
        Cell(federation.data, federation.data, number=False),
        Cell(federation.split_label, federation.split_label, number=False),
        Cell(f"{devices:,}", devices),
        Cell(name, name, number=False),
        Cell(kind, kind, number=False),
    ]
