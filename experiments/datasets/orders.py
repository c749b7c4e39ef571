"""`--data csv`: a brand's own order export and catalogue, as CSV or Parquet.

An export holds more about people than a recommender needs. Only five columns are read: shopper, item, time,
weight and order. The others never leave the file, and the report names them. Shopper ids are replaced by
hashes as they are read, and the key of the hash is discarded. Order ids are replaced by numbers, which are
dropped once the visits are known.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.catalogue_file import read_catalogue
from terrycloth.experiments.datasets.cell_values import as_numbers, as_text, as_times, numbered, pseudonyms
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset, ImportReport
from terrycloth.experiments.datasets.tables import (
    MISFIT,
    USUAL_NAMES,
    TableFile,
    find_column,
    open_table,
    read_columns,
    simplify,
    why_private,
)
from terrycloth.experiments.datasets.visits import (
    Lines,
    events_in_visits,
    order_numbers,
    orders_of_several,
    seconds_of,
)
from terrycloth.models.catalogue import ITEM, Catalogue
from terrycloth.models.errors import UserError

Array = npt.NDArray[Any]

EMPTY_ROW = "an empty row"
MOST_SHARED = 0.5  # largest share of order ids with several shoppers: some tills restart their numbers daily


def load(options: DataOptions) -> Dataset:
    """Read the orders at `options.path` and the items at `options.catalogue`.

    Devices are numbered in the order of their shopper ids as text, items in the order of their own ids, so
    that the order of the rows leaves no trace. Raises UserError if a file or a column cannot be used. No
    error or note contains a shopper or what a shopper did.
    """
    assert options.path is not None
    assert options.catalogue is not None
    orders_file = open_table(options.path)
    report = ImportReport(source=options.path.name)
    columns = choose_columns(orders_file, options, report)
    catalogue = read_catalogue(options.catalogue, orders_file.columns[columns["item"]], report)
    rows = read_orders(orders_file, columns, report)
    kept = drop_bad_rows(rows, orders_file, options.strict, report)
    lines, num_devices = lines_of(kept, items_of(kept, catalogue, options.catalogue))
    if "time" not in columns:
        events = lines.without_times(num_devices)
        return Dataset("csv", catalogue, events, report, times_known=False)
    lines = with_orders_checked(lines, orders_file, options.order_column, columns, report)
    events = events_in_visits(lines, num_devices, catalogue.table[ITEM], options.visit, report)
    return Dataset("csv", catalogue, events, report)


# --- Columns ----------------------------------------------------------------------------------------------


def choose_columns(table: TableFile, options: DataOptions, report: ImportReport) -> dict[str, int]:
    """Choose a column's position for each part (shopper, item …); list the others, unread, in the report.

    Raises UserError if a column is missing, private or chosen twice, or if the file has no header.
    """
    if any(_looks_like_a_value(column) for column in table.columns):
        # Quote nothing of the line: it may be a shopper's row.
        raise UserError(f"the first line of {table.path} holds values: put a line of column names before it")
    named = {
        "shopper": options.shopper_column,
        "item": options.item_column,
        "time": options.time_column,
        "weight": options.weight_column,
        "order": options.order_column,
    }
    chosen: dict[str, int] = {}
    position: int | None
    for part, name in named.items():
        if name:
            position = _named_column(table, part, name)
        else:  # an order column is optional, so it never takes a column that was chosen for another part
            taken_by_name = chosen.values() if part == "order" else ()
            free = ["" if place in taken_by_name else column for place, column in enumerate(table.columns)]
            position = find_column(free, USUAL_NAMES[part])
        for other_part, other_position in chosen.items():
            if position == other_position:
                raise UserError(
                    f"column {table.columns[position]!r} cannot be both the {other_part} and the {part}: "
                    f"name another with --{part}-column"
                )
        if position is not None:
            chosen[part] = position
        elif part in ("shopper", "item"):
            raise UserError(
                f"{table.path} has no column with a usual name for the {part}: "
                f"name it with --{part}-column ({table.listed})"
            )
    if "order" in chosen and "time" not in chosen:
        order = table.columns[chosen.pop("order")]
        report.notes.append(
            f"the order column {order!r} is not read: without times it does not show what came first"
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
    # Shopper ids are hashed as they are read; the other parts are used as they are.
    if reason and part != "shopper":
        raise UserError(f"--{part}-column {name!r} {reason}, and such columns are never read: name another")
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
            f"the shopper column {shopper!r} {reason}: it was hashed as it was read, and is not kept"
        )
    if "time" not in chosen:
        report.notes.append("no time column: each shopper's purchases are one visit, without an order")
    if "weight" not in chosen:
        report.notes.append("no weight column: every row has weight 1")


# --- Rows -------------------------------------------------------------------------------------------------


def read_orders(table: TableFile, columns: dict[str, int], report: ImportReport) -> pd.DataFrame:
    """Read every row of the file, good or bad: shopper (hashed), item, time, weight, misfit, blank, order."""
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
        times = pd.Series(pd.Timestamp(0, tz="UTC"), index=cells.index)
    rows["time"] = times
    if "order" in columns:
        rows["order"] = order_numbers(cells.pop("order"))
    rows["weight"] = np.float32(1)
    if "weight" in columns:
        with np.errstate(over="ignore"):  # a weight that is too large becomes infinite, and is then dropped
            rows["weight"] = as_numbers(cells["weight"], table.decimal_comma).astype("float32")
    return rows


def drop_bad_rows(rows: pd.DataFrame, table: TableFile, strict: bool, report: ImportReport) -> pd.DataFrame:
    """Keep the usable rows; count each other row under the first reason that applies.

    Raises UserError if no row is usable or, with `strict`, at the first bad row that is not empty.
    """
    weight = rows["weight"]
    reasons = {
        EMPTY_ROW: rows["blank"] & ~rows["misfit"],
        MISFIT: rows["misfit"],
        "no shopper": rows["shopper"].isna(),
        "no item": rows["item"].isna(),
        "no readable time": rows["time"].isna(),
        "a weight that is not a number": ~np.isfinite(weight),
        "a weight below zero": weight < 0,
        "a weight of zero": weight == 0,
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    bad = reason != ""
    if strict and (not_empty := bad & (reason != EMPTY_ROW)).any():
        first = int(np.argmax(not_empty))
        raise UserError(
            f"{table.path}, {table.place(rows.index[[first]])}: {reason[first]} "
            "(correct it, or remove --strict to drop such rows)"
        )
    for name in reasons:
        lines = rows.index[reason == name]
        report.drop(name, len(lines))
        if len(lines):
            report.notes.append(f"dropped for {name}: {table.place(lines)}")
    report.rows_kept = int((~bad).sum())
    if report.rows_kept == 0:
        counts = ", ".join(f"{name}: {count}" for name, count in report.rows_dropped.items())
        raise UserError(f"{table.path} has no usable row ({counts}): check which columns were chosen")
    kept: pd.DataFrame = rows.loc[~bad]
    return kept


def items_of(rows: pd.DataFrame, catalogue: Catalogue, catalogue_path: Path) -> Array:
    """The index of each row's item: int64 [rows]. Raises UserError if an item is not in the catalogue."""
    items = pd.Index(catalogue.table[ITEM]).get_indexer(pd.Index(rows["item"].astype(str)))
    missing = rows["item"][items < 0].drop_duplicates()
    if len(missing):
        # Item ids are public, but a cell that was misplaced into this column may not be.
        example = next((f", for example {str(item)[:40]!r}" for item in missing if "@" not in str(item)), "")
        raise UserError(
            f"{catalogue_path} lacks {len(missing)} of the items in the orders{example}: "
            "add them to the catalogue, or remove their rows from the orders"
        )
    return np.asarray(items, dtype=np.int64)


def lines_of(rows: pd.DataFrame, items: Array) -> tuple[Lines, int]:
    """Turn rows with the columns shopper (hashed), time, weight and perhaps order into lines.

    items: int64 [rows], the rows' indices in the catalogue. Returns the lines and the number of shoppers.
    """
    devices, num_devices = numbered(rows["shopper"])
    orders = rows["order"].to_numpy() if "order" in rows else None
    return Lines(devices, items, seconds_of(rows["time"]), rows["weight"].to_numpy(), orders), num_devices


def with_orders_checked(
    lines: Lines, table: TableFile, named: str | None, columns: dict[str, int], report: ImportReport
) -> Lines:
    """Remove the orders from the lines if too many of their ids belong to several shoppers.

    Such a column only sounds like order ids. If the user named it (`named`), it is kept, with a note.
    """
    if lines.orders is None or (shared := orders_of_several(lines)) <= MOST_SHARED:
        return lines
    column = table.columns[columns["order"]]
    report.notes.append(
        f"{shared:.0%} of the ids in the order column {column!r} belong to several shoppers: "
        + (
            "check whether it holds orders"
            if named
            else "it is not used as an order id (use --order-column to force it)"
        )
    )
    if named:
        return lines
    report.columns_kept.remove(column)
    report.columns_dropped.append(column)
    return replace(lines, orders=None)
