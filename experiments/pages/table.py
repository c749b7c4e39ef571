"""A table of a page: it can be sorted and filtered, and each row can hold more below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from terrycloth.experiments.pages.page import Part


@dataclass(frozen=True)
class Column:
    """A column: its heading, and whether it holds numbers, which are set to the right."""

    title: str
    number: bool = False


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and the value that its column is sorted by; None: the text."""

    text: str
    value: str | float | None = None

    @property
    def sorted_by(self) -> str | float:
        """The value that the column is sorted by."""
        return self.text if self.value is None else self.value


@dataclass(frozen=True)
class Entry:
    """A row: one cell per column, and what is folded away below it under the words `summary`."""

    cells: Sequence[Cell]
    details: Sequence[Part] = ()
    summary: str = ""


@dataclass(frozen=True)
class Table:
    """A table. Seven or eight columns fit on a page; put the rest into the details of each entry.

    filtered: whether a field above the table keeps the entries that hold every word typed into it. It finds
    words in the details as well.
    """

    caption: str
    columns: Sequence[Column]
    entries: Sequence[Entry]
    filtered: bool = False
    kind: ClassVar[str] = "table"
