"""Read the rows of an export of orders: shopper, item, time, weight, order, and what became of each."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_ids, as_values, pseudonyms
from terrycloth.experiments.datasets.column_choice import OrderColumns
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.guests import guest_ids, guest_name
from terrycloth.experiments.datasets.headers import USUAL_NAMES, email_column, simplify
from terrycloth.experiments.datasets.import_report import ImportReport, Problem
from terrycloth.experiments.datasets.numbers import as_numbers, marks_of
from terrycloth.experiments.datasets.order_fields import filled_down, orders_from_above
from terrycloth.experiments.datasets.packed_items import unpacked
from terrycloth.experiments.datasets.returns import PARTLY_REFUNDED, fates, left_after_returns
from terrycloth.experiments.datasets.tables import TableFile, read_columns
from terrycloth.experiments.datasets.times import read_times
from terrycloth.experiments.datasets.visits import NO_ORDER, order_numbers
from terrycloth.models.errors import UserError

Array = npt.NDArray[Any]

GUEST = "a guest, or an id that many shoppers share"
NO_ITEM = "not an item (postage, a discount or the like)"
PART = "a part of the product in another row"
LIKE_NAMES = (
    0.5  # share of the shopper ids of several words, above which a report says that they look like names
)
FEWEST_LINES = 2  # lines of an order, and such orders, from which a count of lines can be told


def read_orders(
    table: TableFile, columns: OrderColumns, options: DataOptions, report: ImportReport
) -> pd.DataFrame:
    """Read every row of the file, good or bad.

    Returns the columns shopper (hashed), item, time, weight, order (if there is one), ordered (the weight
    before returns), misfit, blank, and fate: why a row is no purchase, by what it says itself ("" if it is
    one).
    """
    cells, misfit = read_columns(table, list(columns.positions.values()))
    cells.columns = pd.Index(list(columns.positions))
    blank = cells.isna().all(axis=1)
    if packed := columns.named_for("packed"):
        cells, taken = unpacked(cells, packed)
        misfit, blank = misfit.iloc[taken], blank.iloc[taken]
        report.notes.append(
            f"a row holds a whole order: the items of {len(set(taken)):,} rows are counted as {len(cells):,}"
        )
    report.rows_read = len(cells)
    cells["shopper"] = as_ids(cells["shopper"], columns.header("shopper"), table)
    cells["item"] = as_ids(cells["item"], columns.header("item"), table)
    if "order" in cells:
        fill_down(cells, misfit.to_numpy(), columns, report)
    rows = cells[["item", *(["order"] if "order" in cells else [])]].assign(
        misfit=misfit.to_numpy(), blank=blank.to_numpy()
    )
    rows["time"] = times_of(cells, columns, table, report)
    rows["shopper"] = pseudonyms(cells["shopper"])
    refuse_line_numbers(rows, table, columns, options)
    note_names(cells["shopper"], columns.header("shopper"), report)
    rows["fate"] = fates_of(cells, columns, table, report)
    set_guests_aside(rows, cells["shopper"], options, table, report)
    set_weights(rows, cells, columns, table, report)
    return rows


def fill_down(cells: pd.DataFrame, misfit: Array, columns: OrderColumns, report: ImportReport) -> None:
    """Replace order ids by numbers, and give all lines of an order its fields that are given once."""
    fields = [name for name in ("shopper", "time", "clock", *columns.named_for("status")) if name in cells]
    no_field = cells[fields].isna().all(axis=1).to_numpy()
    orders = orders_from_above(order_numbers(cells["order"]), no_field, misfit)
    cells["order"] = orders
    counts = {}
    for name in fields:
        cells[name], counts[name] = filled_down(cells[name], orders)
    if counts := {name: count for name, count in counts.items() if count}:
        listed = ", ".join(f"{name} on {count:,} rows" for name, count in counts.items())
        report.notes.append(f"given once an order, and filled down to its other lines: {listed}")


def note_names(shoppers: pd.Series, header: str, report: ImportReport) -> None:
    """Say if the ids of shoppers look like names, by which two people of one name are one shopper."""
    ids = pd.Series(shoppers.dropna().unique()).astype("string")
    if simplify(header) in USUAL_NAMES["shopper"][-1].split() and len(ids):
        share = ids.str.contains(r"[^\W\d_]+[ ,]+[^\W\d_]+").mean()
        if share > LIKE_NAMES:
            report.problems.append(
                Problem(
                    f"the shopper column {header!r} looks like people's names: two people of one name are "
                    "one shopper (name a column of customer numbers with --shopper-column)"
                )
            )


def times_of(cells: pd.DataFrame, columns: OrderColumns, table: TableFile, report: ImportReport) -> pd.Series:
    """The times of the rows, with the clock added if it stands apart; 1970 if the file has no times."""
    if "time" not in cells:
        return pd.Series(pd.Timestamp(0, tz="UTC"), index=cells.index)
    clock = (cells["clock"], columns.header("clock")) if "clock" in cells else None
    times, report.times, problems = read_times(cells["time"], columns.header("time"), table, clock)
    report.problems += problems
    if clock and clock[1] not in report.times.columns:
        report.columns_used.pop("clock")
        report.columns_kept.remove(clock[1])
        report.columns_dropped.append(clock[1])
    return times


def refuse_line_numbers(
    rows: pd.DataFrame, table: TableFile, columns: OrderColumns, options: DataOptions
) -> None:
    """Raise UserError if the items only count the lines of each order: 1, 2, 3 …"""
    names = " ".join(USUAL_NAMES["item"][-2:]).split()
    header = columns.header("item")
    if options.item_column or simplify(header) not in names or not {"order", "time"} & set(columns.parts):
        return
    known = rows[["shopper", "item", "time"]].assign(order=rows.get("order", NO_ORDER)).dropna()
    numbers = pd.to_numeric(known["item"], errors="coerce")
    if known.empty or numbers.isna().any() or numbers.max() > len(known):
        return
    keys = ["order"] if "order" in rows else ["shopper", "time"]
    orders = numbers.groupby([known[key] for key in keys], observed=True)
    lines = orders.size()
    counted = (orders.min() == 1) & (orders.max() == lines) & (orders.nunique() == lines)
    if counted.all() and (lines >= FEWEST_LINES).sum() >= FEWEST_LINES:
        raise UserError(
            f"column {header!r} of {table.path} counts the lines of each order (1, 2, 3 …) and holds no "
            f"items: name the item with --item-column ({table.listed})"
        )


def fates_of(cells: pd.DataFrame, columns: OrderColumns, table: TableFile, report: ImportReport) -> pd.Series:
    """Why each row is no purchase, by its kind and its statuses; "" if it is one."""
    fate = pd.Series("", index=cells.index, dtype=object)
    kinds = columns.layout.item_kinds.split() if columns.layout else []
    for name in columns.named_for("kind"):
        kind = as_values(cells[name])
        plain = kind.map(lambda cell: simplify(str(cell)), na_action="ignore").astype("string")
        fate = fate.mask((kind.notna() & ~plain.isin(kinds)).to_numpy(bool), NO_ITEM)
    for name in columns.named_for("part of"):
        part = as_values(cells[name])
        fate = fate.mask(((fate == "") & part.notna() & (part != "0")).to_numpy(bool), PART)
    for place, name in zip(columns.groups.get("status", []), columns.named_for("status"), strict=True):
        header = columns.headers[place]
        said = fates(cells[name], header, columns.layout.refunded_words if columns.layout else "")
        partly = said == PARTLY_REFUNDED
        if partly.any():
            what = f"orders partly refunded by {header!r}, which does not say of which items: all are kept"
            where = table.place(cells.index[partly])
            report.problems.append(Problem(what, int(partly.sum()), where))
        fate = fate.mask(((fate == "") & ~partly & (said != "")).to_numpy(bool), said)
    return fate


def set_guests_aside(
    rows: pd.DataFrame, shoppers: pd.Series, options: DataOptions, table: TableFile, report: ImportReport
) -> None:
    """Mark the rows of guests as no purchases of a shopper, unless they are asked for, and say so."""
    guests = guest_ids(shoppers)
    email = email_column(table.columns)
    for shopper, share in guests.items():
        of_guest = (shoppers == shopper).fillna(False).to_numpy(bool)
        kept = (
            "kept as one shopper"
            if options.keep_guests
            else "left out (--keep-guests keeps it as one shopper"
        )
        if not options.keep_guests:
            kept += f"; --shopper-column {email!r} may tell them apart)" if email else ")"
            rows["fate"] = rows["fate"].mask((rows["fate"] == "").to_numpy(bool) & of_guest, GUEST)
        what = f"{guest_name(shopper)} has {share:.0%} of the rows and stands for many people: {kept}"
        report.problems.append(Problem(what, int(of_guest.sum())))


def set_weights(
    rows: pd.DataFrame, cells: pd.DataFrame, columns: OrderColumns, table: TableFile, report: ImportReport
) -> None:
    """Set the weights of the rows, ordered and left after returns: float32, NaN if not a number."""
    refunded = columns.named_for("refunded")
    read = [cells[name] for name in ("weight", *refunded) if name in cells]
    marks = marks_of(read, table.decimal_comma)
    report.numbers = marks.sentence()
    ordered = as_numbers(cells["weight"], marks) if "weight" in cells else pd.Series(1.0, index=cells.index)
    left = ordered
    for name in refunded:
        left = left - as_numbers(cells[name], marks).abs().fillna(0)
    left = left.where((ordered <= 0) | left.isna(), left.clip(lower=0))
    with np.errstate(over="ignore"):  # a weight that is too large becomes infinite, and is then dropped
        rows["ordered"] = ordered.astype("float32").to_numpy()
        rows["weight"] = left.astype("float32").to_numpy()
        if "order" in rows:
            rows["weight"] = left_after_returns(rows).astype("float32").to_numpy()
