"""`--data csv`: a brand's own order export and catalogue, as CSV, Parquet or Excel.

An export holds more about people than a recommender needs. Only the columns of shopper, item, time, weight,
order and status are read. The others never leave the file, and the report names them. Shopper ids are
replaced by hashes as they are read, and the key of the hash is discarded. Order ids are replaced by numbers,
which are dropped once the visits are known.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.catalogue_file import read_catalogue
from terrycloth.experiments.datasets.catalogue_of_orders import catalogue_of_orders
from terrycloth.experiments.datasets.cell_values import numbered
from terrycloth.experiments.datasets.column_choice import OrderColumns, choose_columns
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.order_rows import read_orders
from terrycloth.experiments.datasets.returns import RETURN, RETURNED
from terrycloth.experiments.datasets.tables import MISFIT, TableFile, open_table
from terrycloth.experiments.datasets.visits import Lines, events_in_visits, orders_of_several, seconds_of
from terrycloth.models.catalogue import ITEM, Catalogue
from terrycloth.models.errors import UserError

Array = npt.NDArray[Any]

EMPTY_ROW = "an empty row"
UNKNOWN_ITEM = "an item that the catalogue lacks"
MOST_SHARED = 0.5  # largest share of order ids with several shoppers: some tills restart their numbers daily


def load(options: DataOptions) -> Dataset:
    """Read the orders at `options.path` and the items at `options.catalogue`, or else those of the orders.

    Devices are numbered in the order of their shopper ids as text, items in the order of their own ids, so
    that the order of the rows leaves no trace. Raises UserError if a file or a column cannot be used. No
    error or note contains a shopper or what a shopper did.
    """
    assert options.path is not None
    orders_file = open_table(options.path)
    catalogue_file = None if options.catalogue is None else open_table(options.catalogue)
    report = ImportReport(source=options.path.name)
    columns = choose_columns(orders_file, options, report, catalogue_file.columns if catalogue_file else ())
    catalogue = None
    if catalogue_file is not None:
        catalogue = read_catalogue(catalogue_file, columns.header("item"), report, options)
    rows = read_orders(orders_file, columns, options, report)
    if catalogue is not None and options.unknown_items == "drop":
        set_unknown_items_aside(rows, catalogue, report)
    kept = drop_bad_rows(rows, orders_file, options.strict, report)
    derived = catalogue is None
    if catalogue is None:
        catalogue = catalogue_of_orders(kept, orders_file, columns, options, report)
    lines, num_devices = lines_of(kept, items_of(kept, catalogue, options.catalogue))
    timed = "time" in columns.parts
    if timed:
        lines = with_orders_checked(lines, orders_file, options.order_column, columns, report)
        events = events_in_visits(lines, num_devices, catalogue.table[ITEM], options.visit, report)
    else:
        events = lines.without_times(num_devices)
    return Dataset("csv", catalogue, events, report, times_known=timed, catalogue_from_events=derived)


def set_unknown_items_aside(rows: pd.DataFrame, catalogue: Catalogue, report: ImportReport) -> None:
    """Mark the rows of items that the catalogue lacks as not usable, and count these items in the report."""
    unknown = rows["item"].notna() & ~rows["item"].isin(catalogue.table[ITEM])
    usable = unknown & (rows["fate"] == "") & (rows["weight"] > 0)
    counts = rows["item"][usable].value_counts()
    # A cell that was misplaced into this column may be a person's.
    report.unknown_items = {
        str(item): int(counts[item]) for item in sorted(counts.index, key=str) if "@" not in str(item)
    }
    rows["fate"] = rows["fate"].mask(usable, UNKNOWN_ITEM)


def drop_bad_rows(rows: pd.DataFrame, table: TableFile, strict: bool, report: ImportReport) -> pd.DataFrame:
    """Keep the usable rows; count each other row under the first reason that applies.

    Raises UserError if no row is usable or, with `strict`, at the first row that is bad: rows that are empty
    or that say what they are, such as a cancelled order, are not.
    """
    weight = rows["weight"]
    named = [str(fate) for fate in rows["fate"].unique() if fate]
    said = {
        **{name: rows["fate"] == name for name in named},
        RETURN: weight < 0,
        RETURNED: (weight == 0) & (rows["ordered"] > 0),
    }
    bad = {
        "no shopper": rows["shopper"].isna(),
        "no item": rows["item"].isna(),
        "no readable time": rows["time"].isna(),
        "a weight that is not a number": ~np.isfinite(weight),
        "a weight of zero": weight == 0,
    }
    empty = {EMPTY_ROW: rows["blank"] & ~rows["misfit"]}
    reasons = {**empty, MISFIT: rows["misfit"], **said, **bad}
    first = np.select([np.asarray(each, dtype=bool) for each in reasons.values()], range(len(reasons)), -1)
    wrong = np.isin(first, [number for number, name in enumerate(reasons) if name in (MISFIT, *bad)])
    if strict and wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{table.path}, {table.place(rows.index[[row]])}: {list(reasons)[first[row]]} "
            "(correct it, or remove --strict to drop such rows)"
        )
    for number, name in enumerate(reasons):
        lines = rows.index[first == number]
        report.drop(name, len(lines), table.place(lines))
    kept: pd.DataFrame = rows.loc[first < 0]
    report.rows_kept = len(kept)
    if report.rows_kept == 0:
        counts = ", ".join(f"{name}: {count}" for name, count in report.rows_dropped.items())
        raise UserError(f"{table.path} has no usable row ({counts}): check which columns were chosen")
    return kept


def items_of(rows: pd.DataFrame, catalogue: Catalogue, catalogue_path: Path | None) -> Array:
    """The index of each row's item: int64 [rows]. Raises UserError if an item is not in the catalogue."""
    items = pd.Index(catalogue.table[ITEM]).get_indexer(pd.Index(rows["item"].astype(str)))
    missing = rows["item"][items < 0].drop_duplicates()
    if len(missing):
        # Item ids are public, but a cell that was misplaced into this column may not be.
        example = next((f", for example {str(item)[:40]!r}" for item in missing if "@" not in str(item)), "")
        raise UserError(
            f"{catalogue_path} lacks {len(missing)} of the items in the orders{example}: "
            "add them to the catalogue, or leave their rows out with --unknown-items drop"
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
    lines: Lines, table: TableFile, named: str | None, columns: OrderColumns, report: ImportReport
) -> Lines:
    """Remove the orders from the lines if too many of their ids belong to several shoppers.

    Such a column only sounds like order ids. If the user named it (`named`), it is kept, with a note.
    """
    if lines.orders is None or (shared := orders_of_several(lines)) <= MOST_SHARED:
        return lines
    column = table.columns[columns.parts["order"]]
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
    report.columns_used.pop("order")
    return replace(lines, orders=None)
