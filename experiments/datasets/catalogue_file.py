"""Read a brand's catalogue file into a Catalogue: one row per item, with its id, title and attributes."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_numbers, as_text
from terrycloth.experiments.datasets.dataset import ImportReport
from terrycloth.experiments.datasets.tables import (
    MISFIT,
    USUAL_NAMES,
    TableFile,
    find_column,
    open_table,
    read_columns,
    simplify,
)
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError

Array = npt.NDArray[Any]

# Words in the headers of columns that identify items: their numbers are not amounts and are never binned.
IDENTIFIERS = "id ean gtin upc isbn asin barcode number no code index row url"

MOST_DISTINCT_NUMBERS = 20  # an attribute with more distinct numbers than this is binned
MOST_BINS = 5


def read_catalogue(path: Path, item_column: str, report: ImportReport) -> Catalogue:
    """Read the items, titles and attributes, sorted by item id; note in the report what is left out.

    The item column is the one with the same name as in the orders (`item_column`), or else with one of the
    usual names. Raises UserError if there is none, or if an item is missing or repeated.
    """
    table = open_table(path)
    item = find_column(table.columns, f"{simplify(item_column)} {USUAL_NAMES['item']}")
    if item is None:
        raise UserError(
            f"{path} has no item column: name one {item_column!r}, as in the orders ({table.listed})"
        )
    others = [column if position != item else "" for position, column in enumerate(table.columns)]
    title = find_column(others, USUAL_NAMES["title"])
    cells, misfit = read_columns(table, range(len(table.columns)))
    not_empty = misfit | ~cells.isna().all(axis=1)
    cells, misfit = cells[not_empty], misfit[not_empty]
    _check_items(cells[item], misfit, table)
    ids = as_text(cells[item])
    frame = pd.DataFrame({ITEM: ids.astype(str)})
    frame[TITLE] = frame[ITEM] if title is None else as_text(cells[title]).fillna(ids).astype(str)
    identifying = []
    for position, column in enumerate(table.columns):
        if position in (item, title) or not column:
            continue
        values = attribute_values(cells[position], column, table.decimal_comma)
        if values is None:
            identifying.append(column)
        else:
            frame[_free_name(column, frame.columns)] = values
    attributes = ", ".join(frame.columns[2:]) or "no attributes"
    report.notes.append(f"catalogue {path.name}: {len(frame)} items with {attributes}")
    if title is None:
        report.notes.append(f"{path.name} has no title column: the item ids are shown instead")
    if identifying:
        report.notes.append(
            f"left out of the catalogue, as every item has another value: {', '.join(identifying)}"
        )
    return Catalogue(frame.sort_values(ITEM, ignore_index=True))


def _check_items(items: pd.Series, misfit: pd.Series, table: TableFile) -> None:
    for bad, reason in ((misfit, MISFIT), (as_text(items).isna(), "no item")):
        if bad.any():
            place = table.place(items.index[bad])
            raise UserError(f"{table.path} has {reason} in {place}: correct it, every row needs an item")
    if items.empty:
        raise UserError(f"{table.path} holds no items: export it again")
    repeated = items[as_text(items).duplicated()]
    if len(repeated):
        raise UserError(
            f"{table.path} holds item {str(repeated.iloc[0])!r} more than once: keep one row per item"
        )


def _free_name(name: str, taken: pd.Index) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} {number}", number + 1
    return free


def attribute_values(
    cells: pd.Series, header: str, decimal_comma: bool = False
) -> list[tuple[str, ...]] | None:
    """Return a tuple of values for each cell, or None if no two items share a value.

    "red|blue" and "red; blue" are two values. A column of more than 20 distinct numbers is binned, unless
    the numbers are long or the header says id, code or the like: those are identifiers, not amounts.
    """
    text = as_text(cells.map(_joined))
    numbers = as_numbers(text, decimal_comma)
    if _are_amounts(text, numbers, header) and text.nunique() > MOST_DISTINCT_NUMBERS:
        return quantile_bins(numbers)
    split = text.fillna("").str.split(r"[|;]", regex=True)
    attribute = [tuple(dict.fromkeys(one.strip() for one in values if one.strip())) for values in split]
    all_values = pd.Series([value for values in attribute for value in values], dtype=str)
    return None if len(all_values) > 1 and all_values.is_unique else attribute


def _joined(cell: Any) -> Any:
    """Join a list of values, which a Parquet cell can hold, into the text that a CSV cell would hold."""
    return "|".join(map(str, cell)) if isinstance(cell, (list, tuple, np.ndarray)) else cell


def _are_amounts(text: pd.Series, numbers: pd.Series, header: str) -> bool:
    """Whether these cells are numbers that can be binned: all are finite, and none identifies an item."""
    known = numbers.dropna()
    if known.empty or len(known) < text.notna().sum() or not np.isfinite(known).all():
        return False
    named_identifier = set(IDENTIFIERS.split()) & set(re.findall(r"[a-z]+", header.casefold()))
    long = (known >= 1e7).all() and (known % 1 == 0).all()
    return not named_identifier and not long


def quantile_bins(numbers: pd.Series) -> list[tuple[str, ...]]:
    """Put numbers into at most five bins of about equal size, named by bounds: ("400–500",); () for NaN.

    The bounds are rounded as far as they stay distinct. A number on a bound belongs to the bin above it.
    """
    if numbers.isna().all():
        return [()] * len(numbers)
    shares = np.linspace(0, 1, MOST_BINS + 1)
    # Take the nearest number: interpolation between equal numbers can differ from them by a rounding error.
    exact = np.unique(np.quantile(numbers.dropna().to_numpy(), shares, method="nearest"))
    if len(exact) == 1:
        only = np.format_float_positional(exact[0], trim="-")
        return [(only,) if known else () for known in numbers.notna()]
    coarsest = -int(np.floor(np.log10(exact[-1] - exact[0])))  # no step is wider than the whole range
    for decimals in range(coarsest, coarsest + 16):
        bounds = _round_outwards(exact, decimals)
        if len(np.unique(bounds)) == len(exact):
            break
    names = [np.format_float_positional(bound, trim="-") for bound in bounds]
    labels = [(f"{low}–{high}",) for low, high in pairwise(names)]
    places = np.searchsorted(bounds[1:-1], numbers.to_numpy(), side="right")
    return [labels[place] if known else () for place, known in zip(places, numbers.notna(), strict=True)]


def _round_outwards(bounds: Array, decimals: int) -> Array:
    """Round the bounds to this number of decimals, the first one down and the last one up."""
    step = 10.0**-decimals
    outwards = bounds.copy()
    outwards[0] = np.floor(bounds[0] / step) * step
    outwards[-1] = np.ceil(bounds[-1] / step) * step
    return np.round(outwards, decimals)
