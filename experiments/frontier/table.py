"""The results as one tidy table: one row per cell, with the columns that COLUMNS describes.

The same grid on the same machine gives the same table for any number of --jobs, except in `seconds`.
"""

import io
import math
from typing import Any

import pandas as pd

from terrycloth.experiments.baselines import BASELINES, NOTHING_RELEASED, label_of
from terrycloth.experiments.baselines.floors import PRIVATE, best_floor, floors_of
from terrycloth.experiments.evaluation.metric_table import ABOUT_FULL, ERROR, SAMPLED_METRICS
from terrycloth.experiments.evaluation.split import FIRST_VISIT, LATER_VISITS
from terrycloth.experiments.frontier.cell import Cell, Reference, variants
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.run_jobs import Reasons
from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.runs.result import Accuracy, Baselines, Result
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import FALSE_ALARMS

Row = dict[str, Any]

OF_BASELINES = ("hr@10", ERROR, "ndcg@10")
SAMPLED = {
    f"sampled_{name}": f"{name}, ranked among 99 sampled negatives, which makes results look better"
    for name in SAMPLED_METRICS
}
PRIVATE_BASELINES = (*PRIVATE, "flower")  # they keep the promise of the row
COMPARED = (*BASELINES, "central", *PRIVATE_BASELINES)
ABOUT = {
    "central": "the same model trained on all events in one place, without privacy",
    "flower": "the same model trained by Flower's own strategy, under the promise of the row",
    **{name: f"{label_of(name)}, released once under the promise of the row" for name in PRIVATE},
    **{name: row.sentence for name, row in BASELINES.items()},
}
UNSEEN = {
    f"unseen_{visit.replace(' ', '_')}_{name}": (visit, name)
    for visit in (FIRST_VISIT, LATER_VISITS)
    for name in ("visits", "hr@10", "ndcg@10")
}


def columns_of_baseline(name: str) -> dict[str, str]:
    """Return the description of each column of a baseline, by the name of the column."""
    columns = dict.fromkeys((f"{name}_{metric}" for metric in (*OF_BASELINES, *SAMPLED)), "")
    return columns | {f"{name}_hr@10": f"{label_of(name)}, in this column and the next ones: {ABOUT[name]}"}


COLUMNS = {
    "data": "data set, and which of its files or parts",
    "split": "how the test is held out: date, next-visit, basket or last-item",
    "at": "with split = date: the date that separates training from test",
    "at_asked": "the requested date, or fraction of the events before it; empty: the default fraction",
    "repeats": "include if items that a shopper bought before are targets too, else exclude",
    "devices": "number of devices, one per shopper",
    "items": "number of items in the catalogue",
    "events": "number of training events; none of them is a target",
    "tested": "number of shoppers with a target that was ranked",
    "targets": "number of targets of these shoppers",
    "model": "linear, attributes, mf or neural-cf; or a model for measurement only: pfedrec, fedrap, counter",
    "variant": "other settings that differ over the grid",
    "negative_sampling": "clean, or leaky: a deliberate fault; held-out items are never drawn as negatives",
    "unit": "what the promise protects: interaction, shopper, or none",
    "trust": "who adds the noise: local, distributed or central; empty without a promise",
    "epsilon": "the requested ε; inf: no promise",
    "epsilon_spent": "ε over all rounds, computed by the accountant; empty without a promise",
    "delta": "δ of the promise",
    "caught": f"the largest share of the units in the data that an attacker recognises as such, with false "
    f"alarms in {FALSE_ALARMS:.0%} of the cases; empty without a promise",
    "seed": "seed of the noise and of the initial model; the shoppers are the same for every seed",
    "below_floor": "whether hr@10 is below that of the best floor",
    "best_floor": "the floor with the highest hr@10: with a promise, among those that use no other "
    "shopper's data or are released under the same promise; without one, among all floors",
    "above_nothing_released": "the gain from shoppers' data: hr@10 minus that of nothing released",
    **ABOUT_FULL,
    **SAMPLED,
    **{column: text for name in COMPARED for column, text in columns_of_baseline(name).items()},
    "ceiling_hr@10": "the best possible use of a shopper's history, whole catalogue; synthetic data only",
    "ceiling_ndcg@10": "",
    **{
        column: f"shoppers first seen after the date, who are in no other column: {visit}, {name}"
        for column, (visit, name) in UNSEEN.items()
    },
    "bytes_up_per_device": "bytes sent over all rounds by a device that takes part in every round",
    "rounds": "number of training rounds",
    "seconds": "duration of this run on this machine; it varies",
    "status": "done or failed",
    "reason": "why the run failed",
    "split_sentence": "a sentence that says what trains and what tests",
    "promise": "the promise in words",
    "secure_aggregation_off": "whether sums of distributed trust were simulated without secure aggregation",
    "evaluated": "whether ε also covers counts of hits that the devices released",
    "catalogue_from_events": "whether a catalogue that lists what its shoppers chose is treated as public",
    **{
        f"{name}_settings": f"settings of {label_of(name)} that were chosen on validation"
        for name in BASELINES
    },
    **{f"{name}_promise": f"the promise of {label_of(name)} in words" for name in PRIVATE_BASELINES},
    "command": "the command that repeats this run",
    "run": "the run's folder, under runs/",
}
INTEGER_COLUMNS = ("devices", "items", "events", "tested", "targets", "seed", "bytes_up_per_device", "rounds")
PROMISE_FLAGS = ("secure_aggregation_off", "evaluated", "catalogue_from_events")
TEXT_COLUMNS = (
    "data", "split", "at", "at_asked", "repeats", "model", "variant", "negative_sampling", "unit", "trust",
    "best_floor", "status", "reason", "split_sentence", "promise", "command", "run",
)  # fmt: skip


def make_rows(folder: FrontierFolder, cells: list[Cell], reasons: Reasons) -> list[Row]:
    """Return one row per cell, in the order of the grid; missing values are None."""
    differing = variants(cells)
    return [
        dict.fromkeys(COLUMNS) | {"variant": differing[cell.name]} | row_of(folder, cell, reasons)
        for cell in cells
    ]


def row_of(folder: FrontierFolder, cell: Cell, reasons: Reasons) -> Row:
    """Return what is known about one cell."""
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
    row |= columns_of(result) | reference_columns(folder, cell.references) | {"status": "done"}
    return row | standing(row, private=result.promise.epsilon is not None)


def columns_of(result: Result) -> Row:
    """Return the columns that a run itself fills."""
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
        "caught": None if promise.epsilon is None else promise.caught(FALSE_ALARMS),
        **{name: full.get(name) for name in ABOUT_FULL},
        **sampled_columns("", result.metrics),
        **{column: unseen.get(visit, {}).get(name) for column, (visit, name) in UNSEEN.items()},
        "bytes_up_per_device": cost.bytes_up_per_device,
        "rounds": promise.rounds,
        "seconds": round(cost.seconds_total, 2),
        "promise": promise.sentence(),
        **{name: getattr(promise, name) for name in PROMISE_FLAGS},
        **baseline_columns(result.baselines),
    }


def baseline_columns(baselines: Baselines) -> Row:
    """Return the columns of the baselines that were computed, and of the ceiling."""
    row: Row = {}
    for name, baseline in baselines.found.items():
        row |= {f"{name}_{metric}": baseline.full.get(metric) for metric in OF_BASELINES}
        row |= sampled_columns(f"{name}_", baseline)
        chosen = (f"{setting} = {value:g}" for setting, value in baseline.settings.items())
        row[f"{name}_settings"] = ", ".join(chosen) or None
        row[f"{name}_promise"] = None if baseline.promise is None else baseline.promise.sentence()
    if "history" in baselines.ceiling:
        row |= {f"ceiling_{name}": baselines.ceiling["history"].get(name) for name in ("hr@10", "ndcg@10")}
    return {column: value for column, value in row.items() if column in COLUMNS}


def sampled_columns(prefix: str, accuracy: Accuracy) -> Row:
    """Return the columns of the metrics that rank among 99 sampled negatives."""
    return {f"{prefix}sampled_{name}": accuracy.sampled99.get(name) for name in SAMPLED_METRICS}


def standing(row: Row, private: bool) -> Row:
    """Return the columns that compare a row with its best floor and with nothing released."""
    own, nothing = row["hr@10"], row.get(f"{NOTHING_RELEASED}_hr@10")
    floor = best_floor({name: row.get(f"{name}_hr@10") for name in floors_of(private)}, private)
    return {
        "best_floor": None if floor is None else floor[0],
        "below_floor": None if floor is None or own is None else own < floor[1],
        "above_nothing_released": None if own is None or nothing is None else own - nothing,
    }


def not_compared(folder: FrontierFolder, cells: list[Cell], reasons: Reasons) -> list[str]:
    """Return why some comparisons are missing, each reason once."""
    missing: dict[str, None] = {}
    of_cells = {reasons[cell.name] for cell in cells if cell.name in reasons}
    for reference in {reference.name: reference for cell in cells for reference in cell.references}.values():
        baselines = folder.read_reference(reference)
        if baselines is None and folder.finished(reference):
            path = folder.reference(reference)
            missing[f"{path} is damaged, or of another schema: remove it, and run again"] = None
        missing |= dict.fromkeys(baselines.left_out if baselines is not None else [])
        if reference.name in reasons and reasons[reference.name] not in of_cells:
            missing[reasons[reference.name]] = None
    return [*missing]


def reference_columns(folder: FrontierFolder, references: list[Reference]) -> Row:
    """Return the columns of everything that a cell is compared with."""
    row: Row = {}
    for reference in references:
        baselines = folder.read_reference(reference)
        if baselines is not None:
            columns = baseline_columns(baselines)
            row |= {
                name: columns[name] for name in columns if name.startswith("flower_") or not reference.flower
            }
    return row


def write_table(folder: FrontierFolder, rows: list[Row]) -> None:
    """Write frontier.csv and frontier.parquet, each in one step. Raises UserError if there is no space."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    text = [*TEXT_COLUMNS, *(name for name in COLUMNS if name.endswith(("_settings", "_promise")))]
    flags = ("below_floor", *PROMISE_FLAGS)
    types = (
        dict.fromkeys(INTEGER_COLUMNS, "Int64")
        | dict.fromkeys(text, "string")
        | dict.fromkeys(flags, "boolean")
    )
    table = table.astype(dict.fromkeys(COLUMNS, "float64") | types)
    write_whole(folder.csv, table.to_csv(index=False, lineterminator="\n"), RUN_AGAIN)
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    write_whole(folder.parquet, parquet.getvalue(), RUN_AGAIN)
