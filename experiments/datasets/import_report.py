"""The account of an import: what was read, and as what; what was left out, and why; what is wrong."""

import csv
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MOST_NAMED = 3  # unknown items that a sentence names


@dataclass(frozen=True)
class FileOrder:
    """In what order a file lists the lines of a visit, counted before that order is discarded.

    visits: the number of visits with several items. ascending: how many of these list their lines in
    ascending order of item id. by_chance: the expected number if the order were random.
    """

    visits: int
    ascending: int
    by_chance: float


@dataclass(frozen=True)
class Problem:
    """Something about the quality of a file that a reader should know.

    what: a sentence without a private value. rows: how many rows it concerns. where: their place, as in
    "lines 3, 13, 14, …"; empty if it concerns a whole column.
    """

    what: str
    rows: int = 0
    where: str = ""

    def sentence(self) -> str:
        """The problem as one line of a report."""
        return f"{self.what}: {self.where}" if self.where else self.what


@dataclass(frozen=True)
class TimesRead:
    """How the times were read.

    columns: the headers of the time and, if it stands apart, of the clock. formats: the name of each format
    and how many cells it read. first, last: the earliest and latest instant (UTC), as in 2024-05-31 14:00.
    """

    columns: tuple[str, ...]
    formats: dict[str, int]
    first: str
    last: str

    def sentence(self) -> str:
        """The formats and the span in one line."""
        several = len(self.formats) > 1
        read = ", ".join(
            f"{name} ({count:,} cells)" if several else name for name, count in self.formats.items()
        )
        return f"times: {' and '.join(self.columns)} read as {read}, from {self.first} to {self.last}"


@dataclass(frozen=True)
class CatalogueRead:
    """How a catalogue file was read. Always, rows = items + the sum of rows_dropped.

    title_column: None if there is none, and the item ids are shown. attributes: the names of the catalogue's
    attributes. columns_dropped: each header that became no attribute, with the reason.
    """

    source: str
    layout: str
    rows: int
    items: int
    item_column: str
    title_column: str | None
    attributes: tuple[str, ...]
    rows_dropped: dict[str, int] = field(default_factory=dict)
    columns_dropped: dict[str, str] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """The catalogue in a few lines of a report."""
        attributes = ", ".join(self.attributes) or "no attributes"
        said = [f"catalogue {self.source}, read as {self.layout}: {self.items:,} items with {attributes}"]
        title = "without titles: the item ids are shown" if self.title_column is None else self.title_column
        said.append(f"catalogue columns: item {self.item_column}, title {title}")
        said += [f"catalogue rows left out, {reason}: {rows:,}" for reason, rows in self.rows_dropped.items()]
        for reason in dict.fromkeys(self.columns_dropped.values()):
            columns = [column for column, why in self.columns_dropped.items() if why == reason]
            said.append(f"left out of the catalogue, {reason}: {', '.join(columns)}")
        return said


@dataclass
class ImportReport:
    """What was read and what was left out. Always, rows_read = rows_kept + the sum of rows_dropped.

    layout: as what the file was read, for example "Shopify's order export". columns_used: each part (shopper,
    item …) and the header of its column. columns_never_read: each private column, with the reason. times:
    None if there are none. unknown_items: items that the catalogue lacks and their numbers of rows; item ids
    are public. file_order: None if there are no times and so no visits.
    """

    source: str
    rows_read: int = 0
    rows_kept: int = 0
    rows_dropped: dict[str, int] = field(default_factory=dict)
    columns_kept: list[str] = field(default_factory=list)
    columns_dropped: list[str] = field(default_factory=list)
    columns_never_read: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    file_order: FileOrder | None = None
    layout: str = ""
    columns_used: dict[str, str] = field(default_factory=dict)
    rows_dropped_where: dict[str, str] = field(default_factory=dict)
    times: TimesRead | None = None
    numbers: str = ""
    problems: list[Problem] = field(default_factory=list)
    catalogue: CatalogueRead | None = None
    unknown_items: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str, rows: int, where: str = "") -> None:
        """Count the rows left out for a reason. A reason without rows is not listed."""
        if rows:
            self.rows_dropped[reason] = self.rows_dropped.get(reason, 0) + int(rows)
            if where:
                self.rows_dropped_where[reason] = where

    def check(self) -> None:
        """Raise AssertionError if a row was lost without a reason, which is a bug in the loader."""
        dropped = sum(self.rows_dropped.values())
        if self.rows_read != self.rows_kept + dropped:
            raise AssertionError(f"read {self.rows_read} rows, kept {self.rows_kept}, dropped {dropped}")

    def sentences(self, *, columns: bool = True) -> list[str]:
        """Everything but the counts of rows and the lists of columns, one line each.

        columns: whether to say which column was used for what.
        """
        said = [f"read as {self.layout}"] if self.layout else []
        if columns and self.columns_used:
            said.append("columns used: " + ", ".join(f"{p} {c}" for p, c in self.columns_used.items()))
        said += [self.times.sentence()] if self.times else []
        said += [self.numbers] if self.numbers else []
        said += [f"dropped for {reason}: {where}" for reason, where in self.rows_dropped_where.items()]
        said += [problem.sentence() for problem in self.problems]
        if self.unknown_items:
            named = ", ".join(list(self.unknown_items)[:MOST_NAMED])
            more = ", …" if len(self.unknown_items) > MOST_NAMED else ""
            said.append(f"{len(self.unknown_items):,} items are not in the catalogue: {named}{more}")
        said += self.catalogue.sentences() if self.catalogue else []
        return said + self.notes

    def to_json(self) -> dict[str, Any]:
        """The whole account as plain values, which `json.dumps` writes."""
        return asdict(self)

    def write_unknown_items(self, folder: Path) -> Path | None:
        """Write the unknown items to unknown-items.csv in the folder; return None if there are none."""
        if not self.unknown_items:
            return None
        path = folder / "unknown-items.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("item", "rows"), *self.unknown_items.items()])
        return path
