"""The results as one tidy table: a row a cell, with the columns that COLUMNS describes.

The same grid on the same machine gives the same table, with however many --jobs, but for `seconds`.
"""

import io
import math
from typing import Any

import pandas as pd

from experiments.files import RUN_AGAIN, write_whole
from experiments.frontier.cell import Cell, Reference, variants
from experiments.frontier.folder import FrontierFolder
from experiments.frontier.work import Reasons
from experiments.library_baselines import missing
from experiments.result import Accuracy, FullRanking, Private, Result, SampledRanking, Tuned
from models.errors import UserError

Row = dict[str, Any]

COLUMNS = {
    "data": "data set, and which files or part of it",
    "devices": "shoppers, one a device",
    "items": "items in the catalogue",
    "events": "training events; held-out ones are not among them",
    "tested": "shoppers with a held-out item that was ranked",
    "model": "linear, attributes, mf or neural-cf; or what is only measured: pfedrec, fedrap, counter",
    "variant": "further settings that differ over the grid",
    "protocol": "clean; or leaky: what is held out is never a negative in training, a fault to be measured",
    "unit": "what the promise protects: interaction, shopper, or none",
    "trust": "who adds the noise: local, distributed or central; empty without a promise",
    "epsilon": "ε asked for; inf: no promise",
    "epsilon_spent": "ε over all rounds by the accountant; empty without a promise",
    "delta": "δ of the promise",
    "seed": "of the noise and of the model's start; the shoppers are the same for every seed",
    "hr@10": "hit rate at 10, whole catalogue",
    "ndcg@10": "NDCG at 10, whole catalogue",
    "mrr": "mean reciprocal rank, whole catalogue",
    "sampled_hr@10": "hit rate at 10 against 99 sampled negatives, which flatters",
    "sampled_ndcg@10": "NDCG at 10 against 99 sampled negatives, which flatters",
    "popularity_hr@10": "the same four, of the items that most shoppers have",
    "popularity_ndcg@10": "",
    "popularity_sampled_hr@10": "",
    "popularity_sampled_ndcg@10": "",
    "central_hr@10": "the same four, of the same model trained on all events in one place, without privacy",
    "central_ndcg@10": "",
    "central_sampled_hr@10": "",
    "central_sampled_ndcg@10": "",
    "ease_hr@10": "the same four, of EASE, tuned on a validation purchase, on all events in one place",
    "ease_ndcg@10": "",
    "ease_sampled_hr@10": "",
    "ease_sampled_ndcg@10": "",
    "ials_hr@10": "the same four, of iALS: tuned and trained as EASE is",
    "ials_ndcg@10": "",
    "ials_sampled_hr@10": "",
    "ials_sampled_ndcg@10": "",
    "private_popularity_hr@10": "the same four, of popularity released once under the row's own promise",
    "private_popularity_ndcg@10": "",
    "private_popularity_sampled_hr@10": "",
    "private_popularity_sampled_ndcg@10": "",
    "flower_hr@10": "the same four, of the same model by Flower's own strategy under the row's own promise",
    "flower_ndcg@10": "",
    "flower_sampled_hr@10": "",
    "flower_sampled_ndcg@10": "",
    "ceiling_hr@10": "the best use of a shopper's history, whole catalogue; known for synthetic data only",
    "ceiling_ndcg@10": "",
    "bytes_up_per_device": "sent by a device that takes part in every round, over all rounds",
    "rounds": "rounds of training",
    "seconds": "of this run on this machine; not the same twice",
    "status": "done or failed",
    "reason": "why it failed",
    "promise": "the promise in a sentence",
    "ease_settings": "what was chosen on the validation purchase",
    "ials_settings": "",
    "private_popularity_promise": "what that baseline promises",
    "flower_promise": "",
    "command": "what repeats this run",
    "run": "the run's folder, under runs/",
}


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
        "devices": config.devices,
        "model": config.model,
        "protocol": config.protocol,
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
    return row | columns_of(result) | compared(folder, cell.references) | {"status": "done"}


def columns_of(result: Result) -> Row:
    """The columns that a run itself fills."""
    promise, data, cost = result.promise, result.data, result.cost
    return {
        "devices": data.devices,
        "items": data.items,
        "events": data.events,
        "tested": data.tested,
        "epsilon_spent": promise.epsilon,
        "delta": promise.delta,
        "mrr": result.metrics.full.mrr,
        "bytes_up_per_device": cost.bytes_up_per_device,
        "rounds": promise.rounds,
        "seconds": round(cost.seconds_total, 2),
        "promise": promise.sentence(),
        **accuracy("", result.metrics),
        **promised("private_popularity", result.baselines.private_popularity),
    }


def accuracy(prefix: str, measured: Accuracy) -> Row:
    """HR@10 and NDCG@10 under both protocols."""
    return {
        **ranking(prefix, measured.full),
        **ranking(f"{prefix}sampled_", measured.sampled99),
    }


def ranking(prefix: str, measured: FullRanking | SampledRanking) -> Row:
    """HR@10 and NDCG@10 under one protocol."""
    return {f"{prefix}hr@10": measured.hr_at_10, f"{prefix}ndcg@10": measured.ndcg_at_10}


def promised(name: str, measured: Private | None) -> Row:
    """The columns of a baseline that makes a promise."""
    if measured is None:
        return {}
    return {**accuracy(f"{name}_", measured), f"{name}_promise": measured.promise.sentence()}


def tuned(name: str, measured: Tuned | None) -> Row:
    """The columns of a baseline that was tuned."""
    if measured is None:
        return {}
    chosen = ", ".join(f"{setting} = {value:g}" for setting, value in measured.settings.items())
    return {**accuracy(f"{name}_", measured), f"{name}_settings": chosen}


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
    if not any(cell.baselines for cell in cells) and (reason := missing()) is not None:
        said[reason] = None
    return [*said]


def compared(folder: FrontierFolder, references: list[Reference]) -> Row:
    """The columns of what a cell is compared with."""
    row: Row = {}
    for found in map(folder.read_reference, references):
        if found is None:
            continue
        row |= accuracy("popularity_", found.popularity) | promised("flower", found.flower)
        row |= tuned("ease", found.ease) | tuned("ials", found.ials)
        if found.central is not None:
            row |= accuracy("central_", found.central)
        if "history" in found.ceiling:
            row |= ranking("ceiling_", found.ceiling["history"])
    return row


def write_table(folder: FrontierFolder, rows: list[Row]) -> None:
    """frontier.csv and frontier.parquet, each in one step. Raises UserError where there is no space."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = ["devices", "items", "events", "tested", "seed", "bytes_up_per_device", "rounds"]
    text = [
        "data",
        "model",
        "variant",
        "protocol",
        "unit",
        "trust",
        "status",
        "reason",
        "promise",
        "command",
        "run",
    ]
    text += [name for name in COLUMNS if name.endswith(("_settings", "_promise"))]
    types = dict.fromkeys(whole, "Int64") | dict.fromkeys(text, "string")
    table = table.astype(dict.fromkeys(COLUMNS, "float64") | types)
    write_whole(folder.csv, table.to_csv(index=False, lineterminator="\n"), RUN_AGAIN)
    parquet = io.BytesIO()
    table.to_parquet(parquet, index=False)
    write_whole(folder.parquet, parquet.getvalue(), RUN_AGAIN)
