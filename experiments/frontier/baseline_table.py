"""The page's table of what the points are held against: a line a baseline, or a baseline and promise."""

import math
from dataclasses import dataclass

from experiments.frontier.page_cell import Cell, measured
from experiments.frontier.points import NAMES, Federation, Point, Spread
from models.promise import rounded_up

METRICS = ("hr@10", "ndcg@10", "sampled_hr@10", "sampled_ndcg@10")
HEADERS = (
    "data", "devices", "baseline", "unit", "trust", "ε", "δ", "HR@10", "NDCG@10", "HR@10 of 100",
    "NDCG@10 of 100", "seeds",
)  # fmt: skip
ABOUT = {
    "popularity": "Everyone gets the items that most shoppers have, counted in one place. No promise.",
    "ease": "By irspack, on all events in one place. No promise. Chosen on a validation purchase: {}.",
    "ials": "By implicit, on all events in one place. No promise. Chosen on a validation purchase: {}.",
    "central": "The same model, trained on all events in one place; the best, where it has several settings. "
    "No promise.",
}


@dataclass(frozen=True)
class BaselineLine:
    """One line: its cells in the order of HEADERS, and what the baseline is, or promises."""

    cells: list[Cell]
    about: str


def baseline_lines(federation: Federation) -> list[BaselineLine]:
    """Those without a promise first, then the private ones by promise and ε; none that was not found."""
    lines = []
    for name in ("popularity", "ease", "ials"):
        point = federation.beside(name)
        if point is not None:
            settings = point.of(f"{name}_settings") if name in ("ease", "ials") else ""
            lines.append(level_line(federation, NAMES[name], name, point, ABOUT[name].format(settings)))
    for model in dict.fromkeys(point.of("model") for point in federation.points):
        point = federation.beside("central", model)
        if point is not None:
            lines.append(level_line(federation, f"central {model}", "central", point, ABOUT["central"]))
    for baseline in ("private_popularity", "flower"):
        for curve in federation.curves(baseline):
            name = ", ".join(filter(None, (NAMES[baseline], curve.model)))
            lines += [private_line(federation, name, baseline, point) for point in curve.points]
    return lines


def level_line(federation: Federation, name: str, prefix: str, point: Point, about: str) -> BaselineLine:
    """A baseline that is the same beside every promise, found once."""
    found = [None if (value := point.of(f"{prefix}_{metric}")) is None else Spread(value, value, value)
             for metric in METRICS]  # fmt: skip
    promise = [Cell("–", "", number=False), Cell("–", "", number=False), Cell("∞", 1e9), Cell("–", 0.0)]
    return BaselineLine([*named(federation, name), *promise, *map(measured, found), Cell("1", 1)], about)


def private_line(federation: Federation, name: str, prefix: str, point: Point) -> BaselineLine:
    """A baseline under the promise of a point, a release a seed."""
    epsilon, delta = point.epsilon, point.of("delta")
    assert math.isfinite(epsilon)
    promise = [
        Cell(point.of("unit"), point.of("unit"), number=False),
        Cell(point.of("trust"), point.of("trust"), number=False),
        Cell(f"{epsilon:g}", epsilon),
        Cell(rounded_up(delta), delta),
    ]
    found = [measured(point.spread(f"{prefix}_{metric}")) for metric in METRICS]
    seeds = sum(row[f"{prefix}_hr@10"] is not None for row in point.rows)
    return BaselineLine(
        [*named(federation, name), *promise, *found, Cell(str(seeds), seeds)], point.of(f"{prefix}_promise")
    )


def named(federation: Federation, name: str) -> list[Cell]:
    """The first three cells of a line."""
    devices = federation.devices
    return [
        Cell(federation.data, federation.data, number=False),
        Cell(f"{devices:,}", devices),
        Cell(name, name, number=False),
    ]
