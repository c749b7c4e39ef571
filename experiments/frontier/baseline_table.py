"""The page's table of baselines: one row per baseline or, if it keeps a promise, per baseline and promise."""

import math
from dataclasses import dataclass

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.baselines.floors import FLOORS, PRIVATE
from terrycloth.experiments.frontier.points import Federation, Point, Spread
from terrycloth.experiments.frontier.table import ABOUT, PRIVATE_BASELINES, SAMPLED
from terrycloth.experiments.frontier.table_cell import TableCell, measured
from terrycloth.models.privacy.promise import rounded_up

HEADERS = ("data", "split", "devices", "baseline", "kind", "unit", "trust", "ε", "δ", "HR@10", "NDCG@10")
SAMPLED_HEADERS = ("HR@10 of 100", "NDCG@10 of 100")


@dataclass(frozen=True)
class BaselineTableRow:
    """One row: its cells in the order of `headers`, and a description of the baseline or its promise."""

    cells: list[TableCell]
    about: str


def metrics(published: bool) -> tuple[str, ...]:
    """Return the metrics to show. published: include those that rank among 99 sampled negatives."""
    return ("hr@10", "ndcg@10", *(SAMPLED if published else ()))


def headers(published: bool) -> tuple[str, ...]:
    """Return the headings of the table."""
    return (*HEADERS, *(SAMPLED_HEADERS if published else ()), "seeds")


def baseline_rows(federation: Federation, published: bool) -> list[BaselineTableRow]:
    """Return the rows of the baselines that were computed.

    Baselines without a promise come first, then those that keep one, by promise and ε.
    """
    rows = []
    for name in BASELINES:
        point = federation.beside(name)
        if point is not None:
            chosen = point.of(f"{name}_settings")
            about = f"{ABOUT[name]} No promise." + (f" Chosen on validation: {chosen}." if chosen else "")
            rows.append(public_baseline_row(federation, label_of(name), name, point, about, published))
    for model in dict.fromkeys(point.of("model") for point in federation.points):
        point = federation.beside("central", model)
        if point is not None:
            about = "The same model, trained on all events in one place; if several, the best. No promise."
            rows.append(
                public_baseline_row(federation, f"central {model}", "central", point, about, published)
            )
    for baseline in PRIVATE_BASELINES:
        for curve in federation.curves(baseline):
            name = ", ".join(filter(None, (label_of(baseline), curve.model)))
            rows += [
                private_baseline_row(federation, name, baseline, point, published) for point in curve.points
            ]
    return rows


def public_baseline_row(
    federation: Federation, name: str, prefix: str, point: Point, about: str, published: bool
) -> BaselineTableRow:
    """Return the row of a baseline without a promise, which is computed once."""
    spreads = [None if (value := point.of(f"{prefix}_{metric}")) is None else Spread(value, value, value)
             for metric in metrics(published)]  # fmt: skip
    promise = [
        TableCell("–", "", number=False),
        TableCell("–", "", number=False),
        TableCell("∞", 1e9),
        TableCell("–", 0.0),
    ]
    return BaselineTableRow(
        [*named(federation, name, prefix), *promise, *map(measured, spreads), TableCell("1", 1)], about
    )


def private_baseline_row(
    federation: Federation, name: str, prefix: str, point: Point, published: bool
) -> BaselineTableRow:
    """Return the row of a baseline under the promise of a point, with one release per seed."""
    epsilon, delta = point.epsilon, point.of("delta")
    assert math.isfinite(epsilon)
    promise = [
        TableCell(point.of("unit"), point.of("unit"), number=False),
        TableCell(point.of("trust"), point.of("trust"), number=False),
        TableCell(f"{epsilon:g}", epsilon),
        TableCell(rounded_up(delta), delta),
    ]
    accuracy = [measured(point.spread(f"{prefix}_{metric}")) for metric in metrics(published)]
    seeds = sum(row[f"{prefix}_hr@10"] is not None for row in point.rows)
    return BaselineTableRow(
        [*named(federation, name, prefix), *promise, *accuracy, TableCell(str(seeds), seeds)],
        point.of(f"{prefix}_promise"),
    )


def named(federation: Federation, name: str, prefix: str) -> list[TableCell]:
    """Return the first five cells of a row."""
    devices, kind = federation.devices, "floor" if prefix in (*FLOORS, *PRIVATE) else "strong"
    return [
        TableCell(federation.data, federation.data, number=False),
        TableCell(federation.split_label, federation.split_label, number=False),
        TableCell(f"{devices:,}", devices),
        TableCell(name, name, number=False),
        TableCell(kind, kind, number=False),
    ]
