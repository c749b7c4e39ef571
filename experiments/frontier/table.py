"""The results as one tidy table: a row a cell, with the columns that COLUMNS describes.

The same grid on the same machine gives the same table, with however many --jobs, but for `seconds`.
"""

import io
import math
from typing import Any

import pandas as pd

from terrycloth.experiments.baselines import BASELINES, NOTHING_RELEASED, label_of
from terrycloth.experiments.evaluation.floors import PRIVATE, best_floor, floors_of
from terrycloth.experiments.evaluation.metric_table import ABOUT_FULL, ERROR, SAMPLED_METRICS
from terrycloth.experiments.evaluation.split import FIRST_VISIT, LATER_VISITS
from terrycloth.experiments.frontier.cell import Cell, Reference, variants
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.run_jobs import Reasons
from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.runs.result import Accuracy, Baselines, Result
from terrycloth.models.errors import UserError

Row = dict[str, Any]

OF_BASELINES = ("hr@10", ERROR, "ndcg@10")
SAMPLED = {
    f"sampled_{name}": f"{name} against 99 sampled negatives, which flatters" for name in SAMPLED_METRICS
}
PROMISING = (*PRIVATE, "flower")  # baselines that keep the row's own promise
COMPARED = (*BASELINES, "central", *PROMISING)
ABOUT = {
    "central": "the same model trained on all events in one place, without privacy",
    "flower": "the same model by Flower's own strategy, under the row's own promise",
    **{name: f"{label_of(name)}: released once, under the row's own promise" for name in PRIVATE},
    **{name: row.sentence for name, row in BASELINES.items()},
}
UNSEEN = {
    f"unseen_{visit.replace(' ', '_')}_{name}": (visit, name)
    for visit in (FIRST_VISIT, LATER_VISITS)
    for name in ("visits", "hr@10", "ndcg@10")
}


def columns_of_baseline(name: str) -> dict[str, str]:
    """What is measured of a baseline, by the column."""
    columns = dict.fromkeys((f"{name}_{metric}" for metric in (*OF_BASELINES, *SAMPLED)), "")
    return columns | {f"{name}_hr@10": f"{label_of(name)}, in this column and the next ones; {ABOUT[name]}"}


COLUMNS = {
    "data": "data set, and which files or part of it",
    "split": "what tests: date, next-visit, basket or last-item",
    "at": "the date that parts training from test, with split = date",
    "at_asked": "what was asked for: a date, or the part of the events before it; empty: the usual part",
    "repeats": "include, where what a shopper bought before counts as a target too; else exclude",
    "devices": "shoppers, one a device",
    "items": "items in the catalogue",
    "events": "training events; no target is among them",
    "tested": "shoppers with a target that was ranked",
    "targets": "how many targets they have together",
    "model": "linear, attributes, mf or neural-cf; or what is only measured: pfedrec, fedrap, counter",
    "variant": "further settings that differ over the grid",
    "negative_sampling": "clean, or leaky: a fault on purpose, where held-out items are never negatives",
    "unit": "what the promise protects: interaction, shopper, or none",
    "trust": "who adds the noise: local, distributed or central; empty without a promise",
    "epsilon": "ε asked for; inf: no promise",
    "epsilon_spent": "ε over all rounds by the accountant; empty without a promise",
    "delta": "δ of the promise",
    "seed": "of the noise and of the model's start; the shoppers are the same for every seed",
    "below_floor": "whether hr@10 is below that of the best floor",
    "best_floor": "the floor with the greatest hr@10: under a promise of those that use no other shopper's "
    "data or are released under the same promise, else of all floors",
    "above_nothing_released": "what shoppers' data added: hr@10 less that of nothing released",
    **ABOUT_FULL,
    **SAMPLED,
    **{column: text for name in COMPARED for column, text in columns_of_baseline(name).items()},
    "ceiling_hr@10": "the best use of a shopper's history, whole catalogue; known for synthetic data only",
    "ceiling_ndcg@10": "",
    **{
        column: f"of shoppers first seen after the date, apart from all other figures: {visit}, {name}"
        for column, (visit, name) in UNSEEN.items()
    },
    "bytes_up_per_device": "sent by a device that takes part in every round, over all rounds",
    "rounds": "rounds of training",
    "seconds": "of this run on this machine; not the same twice",
    "status": "done or failed",
    "reason": "why it failed",
    "split_sentence": "what trains and what tests, in a sentence",
    "promise": "the promise in a sentence",
    "secure_aggregation_off": "whether sums of distributed trust were simulated without secure aggregation",
    "evaluated": "whether counts of hits that devices release are in ε too",
    "catalogue_from_events": "whether the catalogue lists what its shoppers chose, and counts as public",
    **{f"{name}_settings": f"what was chosen of {label_of(name)} on validation" for name in BASELINES},
    **{f"{name}_promise": f"what {label_of(name)} promises" for name in PROMISING},
    "command": "what repeats this run",
    "run": "the run's folder, under runs/",
}
WHOLE = ("devices", "items", "events", "tested", "targets", "seed", "bytes_up_per_device", "rounds")
TRUTHS_OF_PROMISE = ("secure_aggregation_off", "evaluated", "catalogue_from_events")
TEXT = (
    "data", "split", "at", "at_asked", "repeats", "model", "variant", "negative_sampling", "unit", "trust",
    "best_floor", "status", "reason", "split_sentence", "promise", "command", "run",
)  # fmt: skip


def make_rows(folder: FrontierFolder, cells: list[Cell], reasons: Reasons) -> list[Row]:
    """A row a cell, in the grid's order; what could not be found is None."""
    differing = variants(cells)
    return [
        dict.fromkeys(COLUMNS) | {"variant": differing[cell.name]} | row_of(folder, cell, reasons)
        for cell in cells
    ]


def row_of(folder: FrontierFolder, cell: Cell, reasons: Reasons) -> Row:
    """What is known of one cell."""
    config = cell.config
    row: Row = {
        "data": cell.data_label,
        "split": config.split,
        "at_asked": None if config.at is None else f"{config.at}",
        "repeats": config.repeats,
        "devices": config.devices,
        "model": config.model,
        "negative_sampling": config.negative_sampling,
        "unit": config.unit,
        "trust": None if config.unit == "none" else config.trust,
        "epsilon": math.inf if config.unit == "none" else config.epsilon,
        "seed": config.seed,
        "command": cell.command,
        "run": cell.name,
    }
    if cell.name in reasons:
        return row | {"status": "failed", "reason": reasons[cell.name]}
    try:
        result = folder.run(cell).read_result()
    except UserError as error:
        return row | {"status": "failed", "reason": str(error)}
    row |= columns_of(result) | compared(folder, cell.references) | {"status": "done"}
    return row | standing(row, private=result.promise.epsilon is not None)


def columns_of(result: Result) -> Row:
    """The columns that a run itself fills."""
    promise, data, cost = result.promise, result.data, result.cost
    full, unseen = result.metrics.full, result.metrics.unseen
    return {
        "split": data.split,
        "at": data.at,
        "split_sentence": data.split_sentence,
        "devices": data.devices,
        "items": data.items,
        "events": data.events,
        "tested": data.tested,
        "targets": data.targets,
        "epsilon_spent": promise.epsilon,
        "delta": promise.delta,
        **{name: full.get(name) for name in ABOUT_FULL},
        **sampled("", result.metrics),
        **{column: unseen.get(visit, {}).get(name) for column, (visit, name) in UNSEEN.items()},
        "bytes_up_per_device": cost.bytes_up_per_device,
        "rounds": promise.rounds,
        "seconds": round(cost.seconds_total, 2),
        "promise": promise.sentence(),
        **{name: getattr(promise, name) for name in TRUTHS_OF_PROMISE},
        **baselines(result.baselines),
    }


def baselines(found: Baselines) -> Row:
    """The columns of the baselines that were found, and of the ceiling."""
    row: Row = {}
    for name, baseline in found.found.items():
        row |= {f"{name}_{metric}": baseline.full.get(metric) for metric in OF_BASELINES}
        row |= sampled(f"{name}_", baseline)
        chosen = (f"{setting} = {value:g}" for setting, value in baseline.settings.items())
        row[f"{name}_settings"] = ", ".join(chosen) or None
        row[f"{name}_promise"] = None if baseline.promise is None else baseline.promise.sentence()
    if "history" in found.ceiling:
        row |= {f"ceiling_{name}": found.ceiling["history"].get(name) for name in ("hr@10", "ndcg@10")}
    return {column: value for column, value in row.items() if column in COLUMNS}


def sampled(prefix: str, measured: Accuracy) -> Row:
    """What is measured against 99 sampled negatives."""
    return {f"{prefix}sampled_{name}": measured.sampled99.get(name) for name in SAMPLED_METRICS}


def standing(row: Row, private: bool) -> Row:
    """Where a row stands: beside its best floor, and beside what needs nothing of other shoppers."""
    own, nothing = row["hr@10"], row.get(f"{NOTHING_RELEASED}_hr@10")
    floor = best_floor({name: row.get(f"{name}_hr@10") for name in floors_of(private)}, private)
    return {
        "best_floor": None if floor is None else floor[0],
        "below_floor": None if floor is None or own is None else own < floor[1],
        "above_nothing_released": None if own is None or nothing is None else own - nothing,
    }


def not_compared(folder: FrontierFolder, cells: list[Cell], reasons: Reasons) -> list[str]:
    """Why something is not there that cells could be compared with, each reason once."""
    said: dict[str, None] = {}
    of_cells = {reasons[cell.name] for cell in cells if cell.name in reasons}
    for reference in {reference.name: reference for cell in cells for reference in cell.references}.values():
        found = folder.read_reference(reference)
        if found is None and folder.finished(reference):
            path = folder.reference(reference)
            said[f"{path} is damaged, or of another schema: take it away, and run again"] = None
        said |= dict.fromkeys(found.left_out if found is not None else [])
        if reference.name in reasons and reasons[reference.name] not in of_cells:
            said[reasons[reference.name]] = None
    return [*said]


def compared(folder: FrontierFolder, references: list[Reference]) -> Row:
    """The columns of what a cell is compared with."""
    row: Row = {}
    for reference in references:
        found = folder.read_reference(reference)
        if found is not None:
            columns = baselines(found)
            row |= {
                name: columns[name] for name in columns if name.startswith("flower_") or not reference.flower
            }
    return row


def write_table(folder: FrontierFolder, rows: list[Row]) -> None:
    """frontier.csv and frontier.parquet, each in one step. Raises UserError where there is no space."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = [*TEXT, *(name for name in COLUMNS if name.endswith(("_settings", "_promise")))]
    truths = ("below_floor", *TRUTHS_OF_PROMISE)
    types = dict.fromkeys(WHOLE, "Int64") | dict.fromkeys(text, "string") | dict.fromkeys(truths, "boolean")
    table = table.astype(dict.fromkeys(COLUMNS, "float64") | types)
    write_whole(folder.csv, table.to_csv(index=False, lineterminator="\n"), RUN_AGAIN)
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    write_whole(folder.parquet, parquet.getvalue(), RUN_AGAIN)
