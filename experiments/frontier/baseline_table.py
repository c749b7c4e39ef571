"""The page's table of baselines: one row per baseline or, if it keeps a promise, per baseline and promise."""

import math
from dataclasses import dataclass

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.baselines.floors import is_floor
from terrycloth.experiments.frontier.points import Federation, Point, Spread
from terrycloth.experiments.frontier.table import ABOUT, PRIVATE_BASELINES, SAMPLED
from terrycloth.experiments.frontier.table_cells import HITS, epsilon_cell, measured
from terrycloth.experiments.pages.page import Terms
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.models.privacy.promise import rounded_up

CAPTION = (
    "What the points are compared with, on the same split: first what keeps no promise, then what keeps the "
    "promise of a point. Floors need no model. Baselines that draw noise are means over the seeds."
)
COLUMNS = (
    Column("shoppers", number=True), Column("baseline"), Column("kind"), Column("promise"),
    Column("ε", number=True), Column(HITS, number=True),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A baseline on a federation: its name in the table, its columns' prefix, and its values by metric.

    point: one whose promise it keeps; None if it keeps none. about: a description of it or its promise.
    """

    federation: Federation
    label: str
    name: str
    values: dict[str, Spread | None]
    seeds: int
    about: str
    point: Point | None = None


def baseline_table(federations: list[Federation]) -> Table | None:
    """Return the table of all baselines that were computed; None if there are none."""
    found = [one for federation in federations for one in baselines_of(federation)]
    return Table(CAPTION, COLUMNS, [entry_of(one) for one in found], filtered=True) if found else None


def baselines_of(federation: Federation) -> list[Measured]:
    """Return the baselines of a federation: first those without a promise, then those with one."""
    found = []
    for name in BASELINES:
        point = federation.beside(name)
        if point is not None:
            chosen = point.of(f"{name}_settings")
            about = f"{ABOUT[name]} No promise." + (f" Chosen on validation: {chosen}." if chosen else "")
            found.append(Measured(federation, label_of(name), name, once(federation, point, name), 1, about))
    for model in dict.fromkeys(point.of("model") for point in federation.points):
        point = federation.beside("central", model)
        if point is not None:
            about = "The same model, trained on all events in one place; if several, the best. No promise."
            values = once(federation, point, "central")
            found.append(Measured(federation, f"central {model}", "central", values, 1, about))
    for name in PRIVATE_BASELINES:
        for curve in federation.curves(name):
            label = ", ".join(filter(None, (label_of(name), curve.model)))
            found += [under_promise(federation, label, name, point) for point in curve.points]
    return found


def metrics(federation: Federation) -> tuple[str, ...]:
    """Return the metrics to show, with those among 99 sampled negatives on the split of published tables."""
    return ("hr@10", "ndcg@10", *(SAMPLED if federation.published else ()))


def once(federation: Federation, point: Point, name: str) -> dict[str, Spread | None]:
    """Return the values of a baseline without a promise, which is computed once."""
    return {
        metric: None if (value := point.of(f"{name}_{metric}")) is None else Spread(value, value, value)
        for metric in metrics(federation)
    }


def under_promise(federation: Federation, label: str, name: str, point: Point) -> Measured:
    """Return a baseline under the promise of a point, with one release per seed."""
    assert math.isfinite(point.epsilon)
    values = {metric: point.spread(f"{name}_{metric}") for metric in metrics(federation)}
    seeds = sum(row[f"{name}_hr@10"] is not None for row in point.rows)
    return Measured(federation, label, name, values, seeds, point.of(f"{name}_promise"), point)


def entry_of(one: Measured) -> Entry:
    """Return the row of a baseline, with everything else about it below."""
    point, federation = one.point, one.federation
    promise = "none" if point is None else f"{point.of('unit')} level, {point.of('trust')} trust"
    further = {
        "data": federation.data,
        "split": federation.split_label,
        **({} if point is None else {"δ": rounded_up(point.of("delta"))}),
        **{NAMES_OF[metric]: measured(spread).text for metric, spread in one.values.items()},
        "seeds": str(one.seeds),
    }
    return Entry(
        [
            Cell(f"{federation.devices:,}", federation.devices),
            Cell(one.label),
            Cell("floor" if is_floor(one.name) else "strong"),
            Cell(promise),
            epsilon_cell(math.inf if point is None else point.epsilon),
            measured(one.values["hr@10"], 100.0, "{:.1f}"),
        ],
        [one.about, Terms(further)],
        "description and all metrics",
    )


NAMES_OF = {"hr@10": "HR@10", "ndcg@10": "NDCG@10"} | {
    name: f"{name.removeprefix('sampled_').upper()} of 100" for name in SAMPLED
}
