"""`--data csv`: a brand's own order export and catalogue, as CSV or Parquet.

An export holds more about people than a recommender needs. Four columns are read: shopper, item, time and
weight. The rest never leave the file, and the report names them. Shopper ids are replaced by a keyed hash as
they are read, and the key is thrown away.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from client.events import Events
from experiments.datasets.catalogue_file import read_catalogue
from experiments.datasets.cells import as_numbers, as_text, as_times, pseudonyms
from experiments.datasets.dataset import DataOptions, Dataset, ImportReport
from experiments.datasets.tables import (
    MISFIT,
    USUAL_NAMES,
    TableFile,
    find_column,
    open_table,
    read_columns,
    simplify,
    why_private,
)
from models.catalogue import ITEM, Catalogue
from models.errors import UserError

Array = npt.NDArray[Any]

EMPTY_ROW = "an empty row"


def load(options: DataOptions) -> Dataset:
    """The orders at `options.path` over the items at `options.catalogue`.

    Devices are numbered by first appearance in the file among the rows that are kept.
    Raises UserError for all that the user can mend; no error or note holds a shopper or what one did.
    """
    assert options.path is not None
    assert options.catalogue is not None
    orders_file = open_table(options.path)
    report = ImportReport(source=options.path.name)
    columns = choose_columns(orders_file, options, report)
    catalogue = read_catalogue(options.catalogue, orders_file.columns[columns["item"]], report)
    rows = read_orders(orders_file, columns, report)
    kept = drop_bad_rows(rows, orders_file, options.strict, report)
    events = order_events(kept, catalogue, options.catalogue)
    return Dataset("csv", catalogue, events, report, times_known="time" in columns)


# --- Columns ----------------------------------------------------------------------------------------------


def choose_columns(table: TableFile, options: DataOptions, report: ImportReport) -> dict[str, int]:
    """Which column of the orders plays which part; files every other column in the report, unread."""
    if any(_looks_like_a_value(column) for column in table.columns):
        # Not a word of what it says: it may be a shopper's row.
        raise UserError(f"the first line of {table.path} holds values: put a line of column names before it")
    named = {
        "shopper": options.shopper_column,
        "item": options.item_column,
        "time": options.time_column,
        "weight": options.weight_column,
    }
    chosen: dict[str, int] = {}
    for part, name in named.items():
        position = _named_column(table, part, name) if name else find_column(table.columns, USUAL_NAMES[part])
        for other, taken in chosen.items():
            if position == taken:
                raise UserError(
                    f"column {table.columns[position]!r} cannot be both the {other} and the {part}: "
                    f"name another with --{part}-column"
                )
        if position is not None:
            chosen[part] = position
        elif part in ("shopper", "item"):
            raise UserError(
                f"{table.path} has no column that is known to hold the {part}: "
                f"say which with --{part}-column ({table.listed})"
            )
    _file_columns(table, chosen, report)
    return chosen


def _looks_like_a_value(header: str) -> bool:
    return "@" in header or re.fullmatch(r"[+-]?\d[\d\s.,:/TZ+-]*", header) is not None


def _named_column(table: TableFile, part: str, name: str) -> int:
    exact = name in table.columns
    position = table.columns.index(name) if exact else find_column(table.columns, simplify(name))
    if position is None:
        raise UserError(f"{table.path} has no column {name!r} for --{part}-column: {table.listed}")
    reason = why_private(table.columns[position])
    # A shopper is hashed as it is read; the other parts are used as they are.
    if reason and part != "shopper":
        raise UserError(f"--{part}-column {name!r} {reason}, which is never read: name another column")
    return position


def _file_columns(table: TableFile, chosen: dict[str, int], report: ImportReport) -> None:
    report.columns_kept = [table.columns[position] for position in chosen.values()]
    for position, column in enumerate(table.columns):
        if position in chosen.values():
            continue
        if reason := why_private(column):
            report.columns_never_read[column] = reason
        else:
            report.columns_dropped.append(column or f"(column {position + 1}, without a name)")
    shopper = table.columns[chosen["shopper"]]
    if reason := why_private(shopper):
        report.notes.append(
            f"the shopper column {shopper!r} {reason}: it was hashed as it was read, and not kept"
        )
    if "time" not in chosen:
        report.notes.append("no time column: the order of the rows is taken for the order of the purchases")
    if "weight" not in chosen:
        report.notes.append("no weight column: every row weighs 1")


# --- Rows -------------------------------------------------------------------------------------------------


def read_orders(table: TableFile, columns: dict[str, int], report: ImportReport) -> pd.DataFrame:
    """One row a row of the file, good or bad: shopper (hashed), item, time, weight, misfit and blank."""
    cells, misfit = read_columns(table, list(columns.values()))
    cells.columns = pd.Index(list(columns))
    report.rows_read = len(cells)
    rows = pd.DataFrame({"misfit": misfit, "blank": cells.isna().all(axis=1)})
    rows["shopper"] = pseudonyms(cells.pop("shopper"))
    rows["item"] = as_text(cells["item"])
    if "time" in columns:
        times, note = as_times(cells["time"])
        report.notes += [note] if note else []
    else:
        times = pd.Series(pd.to_datetime(np.arange(len(cells)), unit="s", utc=True), index=cells.index)
    rows["time"] = times
    rows["weight"] = np.float32(1)
    if "weight" in columns:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is no weight
            rows["weight"] = as_numbers(cells["weight"], table.decimal_comma).astype("float32")
    return rows


def drop_bad_rows(rows: pd.DataFrame, table: TableFile, strict: bool, report: ImportReport) -> pd.DataFrame:
    """Leave out rows that cannot be used, each counted under the first reason that fits.

    With `strict` the first bad row is a UserError; an empty row is not an error.
    """
    weight = rows["weight"]
    reasons = {
        EMPTY_ROW: rows["blank"] & ~rows["misfit"],
        MISFIT: rows["misfit"],
        "no shopper": rows["shopper"].isna(),
        "no item": rows["item"].isna(),
        "no time that can be read": rows["time"].isna(),
        "a weight that is no number": ~np.isfinite(weight),
        "a weight below zero": weight < 0,
        "a weight of zero": weight == 0,
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    bad = reason != ""
    if strict and (wrong := bad & (reason != EMPTY_ROW)).any():
        first = int(np.argmax(wrong))
        raise UserError(
            f"{table.path}, {table.place(rows.index[[first]])}: {reason[first]} "
            "(mend it, or leave out --strict to drop such rows)"
        )
    for name in reasons:
        lines = rows.index[reason == name]
        report.drop(name, len(lines))
        if len(lines):
            report.notes.append(f"dropped for {name}: {table.place(lines)}")
    report.rows_kept = int((~bad).sum())
    if report.rows_kept == 0:
        counts = ", ".join(f"{name}: {count}" for name, count in report.rows_dropped.items())
        raise UserError(
            f"{table.path} has no row that can be used ({counts}): check the columns that were taken"
        )
    kept: pd.DataFrame = rows.loc[~bad]
    return kept


def order_events(rows: pd.DataFrame, catalogue: Catalogue, catalogue_path: Path) -> Events:
    """Good rows as events. UserError where an item is not in the catalogue."""
    items = pd.Index(catalogue.table[ITEM]).get_indexer(pd.Index(rows["item"].astype(str)))
    missing = rows["item"][items < 0].drop_duplicates()
    if len(missing):
        # Item ids are public, but a cell that slipped into this column may not be.
        example = next((f", {str(item)[:40]!r} for one" for item in missing if "@" not in str(item)), "")
        raise UserError(
            f"{catalogue_path} lacks {len(missing)} of the items that were ordered{example}: "
            "add them to the catalogue, or take their rows out of the orders"
        )
    return events_of(rows, items)


def events_of(rows: pd.DataFrame, items: Array) -> Events:
    """Events of rows with the columns shopper (hashed), time and weight, and their items [rows]."""
    devices, shoppers = pd.factorize(rows["shopper"])  # by first appearance: the hash gives no lasting order
    seconds = rows["time"].dt.tz_localize(None).dt.as_unit("s").to_numpy().astype(np.int64)
    return Events.from_columns(devices, items, seconds, rows["weight"].to_numpy(), len(shoppers))
