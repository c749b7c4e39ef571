"""Choose the columns of an export of orders: by flag, by a shop system's layout, or by their usual names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.headers import (
    USUAL_NAMES,
    email_column,
    find_all,
    find_column,
    names_of,
    simplify,
    why_private,
)
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.shop_formats import OrderLayout, order_layout
from terrycloth.experiments.datasets.tables import TableFile
from terrycloth.models.errors import UserError

PARTS = ("shopper", "item", "time", "weight", "order")
NEEDED = ("shopper", "item")


@dataclass(frozen=True)
class OrderColumns:
    """The columns to read.

    headers: of all columns of the file. parts: the position of each part that was found, shopper, item, time,
    clock, weight, order. groups: the positions of several columns for a purpose: status, refunded, kind, part
    of, packed. layout: None if the columns have their usual names.
    """

    headers: list[str]
    parts: dict[str, int]
    groups: dict[str, list[int]] = field(default_factory=dict)
    layout: OrderLayout | None = None

    @property
    def positions(self) -> dict[str, int]:
        """The position of every column by a name of its own: its part, or its purpose and its header."""
        of_groups = {
            f"{purpose}: {self.headers[place]}": place
            for purpose, places in self.groups.items()
            for place in places
        }
        return self.parts | of_groups

    def named_for(self, purpose: str) -> list[str]:
        """The names, as in `positions`, of the columns for a purpose."""
        return [f"{purpose}: {self.headers[place]}" for place in self.groups.get(purpose, [])]

    def header(self, part: str) -> str:
        """The header of a part's column; empty if there is none."""
        return self.headers[self.parts[part]] if part in self.parts else ""


def choose_columns(
    table: TableFile, options: DataOptions, report: ImportReport, catalogue_columns: Sequence[str] = ()
) -> OrderColumns:
    """Choose the columns, and list the others, unread, in the report.

    catalogue_columns: the headers of the catalogue; an item column that it has too is preferred. Raises
    UserError if a column is missing, private or chosen twice, if two could be the shopper or the item, or if
    the file has no header.
    """
    if any(_looks_like_a_value(column) for column in table.columns):
        # Quote nothing of the line: it may be a shopper's row.
        raise UserError(f"the first line of {table.path} holds values: put a line of column names before it")
    layout = order_layout(table.columns, options.format, table.path)
    if layout is not None:
        report.layout = layout.name
    packed = find_all_numbered(table.columns, layout.packed) if layout and layout.packed else []
    chosen: dict[str, int] = {}
    position: int | None
    for part in PARTS:
        name = getattr(options, f"{part}_column")
        if packed and part in ("item", "weight"):
            continue
        if name:
            position = _named_column(table, part, name)
        else:
            position = _column_of_layout(table, layout, part)
            if position is None:
                position = _usual_column(table, part, chosen, catalogue_columns)
        for other_part, other_position in chosen.items():
            if position == other_position:
                raise UserError(
                    f"column {table.columns[position]!r} cannot be both the {other_part} and the {part}: "
                    f"name another with --{part}-column"
                )
        if position is not None:
            chosen[part] = position
        elif part in NEEDED:
            email = email_column(table.columns) if part == "shopper" else None
            hint = f", for example {email!r}, which is hashed as it is read" if email else ""
            raise UserError(
                f"{table.path} has no column with a usual name for the {part}: "
                f"name it with --{part}-column{hint} ({table.listed})"
            )
    if "time" in chosen and not options.time_column:
        free = ["" if place in chosen.values() else column for place, column in enumerate(table.columns)]
        clock = find_column(free, names_of("clock"))
        if clock is not None:
            chosen["clock"] = clock
    if "order" in chosen and "time" not in chosen:
        order = table.columns[chosen.pop("order")]
        report.notes.append(
            f"the order column {order!r} is not read: without times it does not show what came first"
        )
    columns = OrderColumns(table.columns, chosen, _groups(table, layout, chosen, packed), layout)
    _file_columns(table, columns, report)
    return columns


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


def _column_of_layout(table: TableFile, layout: OrderLayout | None, part: str) -> int | None:
    """A layout knows what a column holds: its shopper may be an e-mail address, its order be called Name."""
    return find_column(table.columns, getattr(layout, part)) if layout else None


def _usual_column(
    table: TableFile, part: str, chosen: dict[str, int], catalogue_columns: Sequence[str]
) -> int | None:
    """The best column with a usual name; None if there is none.

    Raises UserError if two are equally good for the shopper or the item, or bear the same name.
    """
    # An order column is optional, so it never takes a column that was chosen for another part.
    taken = chosen.values() if part == "order" else ()
    free = ["" if place in taken else column for place, column in enumerate(table.columns)]
    if part == "item":
        shared = {simplify(column) for column in catalogue_columns} & set(names_of("item").split())
        in_both = ["" if simplify(column) not in shared else column for column in free]
        free = in_both if find_column(in_both, names_of("item")) is not None else free
    for names in USUAL_NAMES[part]:
        found = find_all(free, names)
        best = find_column(free, names)
        tied = found if part in NEEDED else find_all(free, simplify(free[best])) if best is not None else []
        if len(tied) > 1:
            listed = " and ".join(repr(table.columns[place]) for place in tied)
            raise UserError(
                f"{table.path} has several columns that may be the {part}, {listed}: "
                f"choose with --{part}-column"
            )
        if best is not None:
            return best
    return None


def find_all_numbered(columns: Sequence[str], stem: str) -> list[int]:
    """The positions of the columns that are called so, or so with a number: line_item_1, line_item_2 …"""
    return [place for place, column in enumerate(columns) if re.fullmatch(rf"{stem}\d*", simplify(column))]


def _groups(
    table: TableFile, layout: OrderLayout | None, chosen: dict[str, int], packed: list[int]
) -> dict[str, list[int]]:
    wanted = {
        "status": names_of("status") + (f" {layout.status}" if layout else ""),
        "refunded": names_of("refunded") + (f" {layout.refunded}" if layout else ""),
        "kind": layout.kind if layout else "",
        "part of": layout.part_of if layout else "",
    }
    found = {
        purpose: [
            place
            for place in find_all(table.columns, names)
            if place not in chosen.values() and not why_private(table.columns[place])
        ]
        for purpose, names in wanted.items()
    }
    return {purpose: places for purpose, places in {**found, "packed": packed}.items() if places}


def _file_columns(table: TableFile, columns: OrderColumns, report: ImportReport) -> None:
    kept = list(dict.fromkeys(columns.positions.values()))
    report.columns_kept = [table.columns[position] for position in kept]
    report.columns_used = {part: table.columns[position] for part, position in columns.parts.items()}
    for purpose, places in columns.groups.items():
        report.columns_used[purpose] = ", ".join(table.columns[place] for place in places)
    for position, column in enumerate(table.columns):
        if position in kept:
            continue
        if reason := why_private(column):
            report.columns_never_read[column] = reason
        else:
            report.columns_dropped.append(column or f"(column {position + 1}, without a name)")
    shopper = table.columns[columns.parts["shopper"]]
    if reason := why_private(shopper):
        report.notes.append(
            f"the shopper column {shopper!r} {reason}: it was hashed as it was read, and is not kept"
        )
    if "time" not in columns.parts:
        report.notes.append("no time column: each shopper's purchases are one visit, without an order")
    if "weight" not in columns.parts and "packed" not in columns.groups:
        report.notes.append("no weight column: every row has weight 1")
