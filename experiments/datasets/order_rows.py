"""Read the rows of an export of orders: shopper, item, time, weight, order, and what became of each."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_ids, as_values, pseudonyms
from terrycloth.experiments.datasets.column_choice import OrderColumns
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.guests import guest_ids, guest_name
from terrycloth.experiments.datasets.headers import USUAL_NAMES, simplify, why_private
from terrycloth.experiments.datasets.import_report import ImportReport, Problem
from terrycloth.experiments.datasets.numbers import as_numbers, marks_of
from terrycloth.experiments.datasets.order_fields import filled_down, orders_from_above
from terrycloth.experiments.datasets.packed_items import unpacked
from terrycloth.experiments.datasets.returns import PARTLY_REFUNDED, fates, left_after_returns
from terrycloth.experiments.datasets.tables import TableFile, read_columns
from terrycloth.experiments.datasets.times import read_times
from terrycloth.experiments.datasets.visits import NO_ORDER
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
    positions = columns.positions
    cells, misfit = read_columns(table, positions)
    place = {position: number for number, position in enumerate(positions)}
    parts: dict[str, Any] = {part: place[position] for part, position in columns.parts.items()}
    blank = cells.isna().all(axis=1).to_numpy()
    if "packed" in columns.groups:
        cells, taken = unpacked(cells, [place[position] for position in columns.groups["packed"]])
        misfit, blank = misfit.iloc[taken], blank[taken]
        report.notes.append(
            f"a row holds a whole order: the items of {len(set(taken)):,} rows are counted as {len(cells):,}"
        )
        parts |= {"item": "item", "weight": "weight"}
    report.rows_read = len(cells)
    rows = pd.DataFrame({"misfit": misfit.to_numpy(), "blank": blank}, index=cells.index)

    def header(part: str) -> str:
        return table.columns[columns.parts[part]] if part in columns.parts else "the items"

    shoppers = as_ids(cells[parts["shopper"]], header("shopper"), table)
    rows["item"] = as_ids(cells[parts["item"]], header("item"), table)
    purposes = ("status", "refunded", "kind", "part of")
    extra = {purpose: [place[each] for each in columns.groups.get(purpose, [])] for purpose in purposes}
    if "order" in parts:
        ids = as_values(cells[parts["order"]])
        orders = np.asarray(pd.factorize(ids)[0], dtype=np.int64)
        fields = {"shopper": shoppers} | {
            part: cells[parts[part]] for part in ("time", "clock") if part in parts
        }
        fields |= {table.columns[columns.positions[number]]: cells[number] for number in extra["status"]}
        orders = orders_from_above(orders, no_field(fields), rows["misfit"].to_numpy())
        filled = {part: filled_down(column, orders) for part, column in fields.items()}
        note_filled({part: count for part, (_, count) in filled.items()}, report)
        shoppers = filled["shopper"][0]
        for part in ("time", "clock"):
            if part in parts:
                cells[parts[part]] = filled[part][0]
        for number in extra["status"]:
            cells[number] = filled[table.columns[columns.positions[number]]][0]
        rows["order"] = orders
    note_names(shoppers, header("shopper"), report)
    rows["time"] = times_of(cells, parts, header, table, report)
    rows["shopper"] = pseudonyms(shoppers)
    refuse_line_numbers(rows, table, columns, options)
    rows["fate"] = fates_of(cells, extra, table, columns, report)
    set_guests_aside(rows, shoppers, options, table, report)
    set_weights(rows, cells, parts.get("weight"), extra["refunded"], table, report)
    return rows


def no_field(fields: dict[str, pd.Series]) -> Array:
    """The rows in which no field of an order is filled: bool [rows]."""
    return np.asarray(np.all([column.isna() for column in fields.values()], axis=0))


def note_filled(counts: dict[str, int], report: ImportReport) -> None:
    """Say which fields were given once an order."""
    if counts := {part: count for part, count in counts.items() if count}:
        listed = ", ".join(f"{part} on {count:,} rows" for part, count in counts.items())
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


def times_of(
    cells: pd.DataFrame, parts: dict[str, Any], header: Any, table: TableFile, report: ImportReport
) -> pd.Series:
    """The times of the rows, with the clock added if it stands apart; 1970 if the file has no times."""
    if "time" not in parts:
        return pd.Series(pd.Timestamp(0, tz="UTC"), index=cells.index)
    clock = (cells[parts["clock"]], header("clock")) if "clock" in parts else None
    times, report.times, problems = read_times(cells[parts["time"]], header("time"), table, clock)
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
    header = table.columns[columns.parts["item"]] if "item" in columns.parts else ""
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


def fates_of(
    cells: pd.DataFrame,
    extra: dict[str, list[int]],
    table: TableFile,
    columns: OrderColumns,
    report: ImportReport,
) -> pd.Series:
    """Why each row is no purchase, by its kind and its statuses; "" if it is one."""
    fate = pd.Series("", index=cells.index, dtype=object)
    layout = columns.layout
    kinds = layout.item_kinds.split() if layout else []
    for number in extra["kind"]:
        kind = as_values(cells[number])
        plain = kind.map(lambda cell: simplify(str(cell)), na_action="ignore")
        fate = fate.mask((kind.notna() & ~plain.isin(kinds)).to_numpy(bool), NO_ITEM)
    for number in extra["part of"]:
        part = as_values(cells[number])
        fate = fate.mask(((fate == "") & part.notna() & (part != "0")).to_numpy(bool), PART)
    for number in extra["status"]:
        header = table.columns[columns.positions[number]]
        said = fates(cells[number], header, layout.refunded_words if layout else "")
        partly = said == PARTLY_REFUNDED
        if partly.any():
            report.problems.append(
                Problem(
                    f"orders that are partly refunded by {header!r}, which does not say of which items: "
                    "all are kept",
                    int(partly.sum()),
                    table.place(cells.index[partly]),
                )
            )
        fate = fate.mask(((fate == "") & ~partly & (said != "")).to_numpy(bool), said)
    return fate


def set_guests_aside(
    rows: pd.DataFrame, shoppers: pd.Series, options: DataOptions, table: TableFile, report: ImportReport
) -> None:
    """Mark the rows of guests as no purchases of a shopper, unless they are asked for, and say so."""
    guests = guest_ids(shoppers)
    email = next((c for c in table.columns if "e-mail" in (why_private(c) or "")), None)
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
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    weight: Any,
    refunded: list[int],
    table: TableFile,
    report: ImportReport,
) -> None:
    """Set the weights of the rows, ordered and left after returns: float32, NaN if not a number."""
    columns = [cells[number] for number in ([weight] if weight is not None else []) + refunded]
    marks = marks_of(columns, table.decimal_comma)
    ordered = pd.Series(1.0, index=rows.index) if weight is None else as_numbers(cells[weight], marks)
    left = ordered
    for number in refunded:
        left = left - as_numbers(cells[number], marks).abs().fillna(0)
    left = left.where((ordered <= 0) | left.isna(), left.clip(lower=0))
    if weight is not None or refunded:
        report.numbers = marks.sentence()
    with np.errstate(over="ignore"):  # a weight that is too large becomes infinite, and is then dropped
        rows["ordered"] = ordered.astype("float32").to_numpy()
        rows["weight"] = left.astype("float32").to_numpy()
        if "order" in rows:
            rows["weight"] = left_after_returns(rows).astype("float32").to_numpy()
