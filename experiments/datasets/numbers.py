"""Numbers as people write them: decimal commas and points, thousands marks and currencies.

Whether a comma or a point parts the decimals is decided once for a file, from cells that can only be read in
one way: 2,55 and 1.200,50 have a decimal comma, 2.55 and 1,200.50 a decimal point. Cells such as 1.200 show
nothing by themselves, and are read as the others are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_values, by_distinct

CURRENCIES = r"(?:[$€£¥₣]|EUR|USD|GBP|CHF|Fr\.|kr|zł|Kč)"
# What stands around the digits: a sign, a currency, spaces, and an apostrophe between thousands.
AROUND = rf"{CURRENCIES}|(?<=\d)['’\u00a0\u202f ](?=\d\d\d)|\s+"
WRITTEN_NUMBER = r"[+-]?(?:\d[\d.,]*(?:[eE][+-]?\d+)?|[.,]\d+)"
ENDS_IN_DECIMALS = {
    "comma": r"[+-]?(?:\d*,(?:\d{1,2}|\d{4,})|0,\d+|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,})",
    "point": r"[+-]?(?:\d*\.(?:\d{1,2}|\d{4,})|0\.\d+|\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:,\d{3}){2,})",
}
SHOWS_NOTHING = r"[+-]?[1-9]\d{0,2}[.,]\d{3}"
MOSTLY = 0.5  # share of a column's cells that must be numbers for it to count as evidence


@dataclass(frozen=True)
class Marks:
    """Which mark parts the decimals of a file's numbers.

    decimal: "comma" or "point". votes: the number of cells that show it. against: those that show the other.
    silent: those such as 1.200, which show nothing.
    """

    decimal: str = "point"
    votes: int = 0
    against: int = 0
    silent: int = 0

    def sentence(self) -> str:
        """The decision in one line; empty if no cell is concerned."""
        example = "2,55" if self.decimal == "comma" else "2.55"
        if not self.votes:
            guess = f"numbers: no cell shows how decimals are written; taken to be as in {example}"
            return guess + f" (it concerns {self.silent:,} cells)" if self.silent else ""
        against = f", {self.against:,} cells are written otherwise" if self.against else ""
        shown = f"shown by {self.votes:,} cells{against}"
        return f"numbers: with a decimal {self.decimal}, as in {example} ({shown})"


def marks_of(columns: Iterable[pd.Series], otherwise_comma: bool = False) -> Marks:
    """Decide how a file's numbers are written, from the columns that are mostly numbers.

    otherwise_comma: what to assume if no cell shows it.
    """
    votes = {"comma": 0, "point": 0}
    silent = 0
    for column in columns:
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
            continue
        codes, distinct = pd.factorize(as_values(column))
        cells = np.bincount(codes[codes >= 0], minlength=len(distinct))
        written = pd.Series(distinct).astype("string").str.replace(AROUND, "", regex=True)
        if cells[written.str.fullmatch(WRITTEN_NUMBER).to_numpy(bool)].sum() >= MOSTLY * cells.sum():
            for mark, pattern in ENDS_IN_DECIMALS.items():
                votes[mark] += int(cells[written.str.fullmatch(pattern).to_numpy(bool)].sum())
            silent += int(cells[written.str.fullmatch(SHOWS_NOTHING).to_numpy(bool)].sum())
    decimal = "comma" if (votes["comma"], otherwise_comma) > (votes["point"], False) else "point"
    other = "point" if decimal == "comma" else "comma"
    return Marks(decimal, votes[decimal], votes[other], silent)


def as_numbers(column: pd.Series, marks: Marks) -> pd.Series:
    """Convert to float64; a cell that is not a number becomes NaN, as does one with the marks misplaced."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("float64")
    return by_distinct(as_values(column), lambda cells: _parsed(cells.astype("string"), marks))


def _parsed(cells: pd.Series, marks: Marks) -> pd.Series:
    decimal, thousands = (",", ".") if marks.decimal == "comma" else (".", ",")
    bare = cells.str.replace(AROUND, "", regex=True)
    grouped = rf"[+-]?\d{{1,3}}(?:\{thousands}\d{{3}})+(?:\{decimal}\d+)?"
    plain = rf"[+-]?(?:\d+\{decimal}?\d*|\{decimal}\d+)(?:[eE][+-]?\d+)?"
    readable = bare.str.fullmatch(grouped).fillna(False) | bare.str.fullmatch(plain).fillna(False)
    written = bare.str.replace(thousands, "", regex=False).str.replace(decimal, ".", regex=False)
    return pd.to_numeric(written.where(readable.astype(bool)), errors="coerce").astype("float64")
