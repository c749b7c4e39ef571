"""A brand's catalogue file → Catalogue: one row an item, its id, its title, and the rest as attributes."""

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

# Catalogue columns that identify rather than describe: their numbers are no amounts and are never binned.
IDENTIFIERS = "id ean gtin upc isbn asin barcode number no code index row url"

MOST_DISTINCT_NUMBERS = 20  # an attribute with more different numbers than this is binned
MOST_BINS = 5


def read_catalogue(path: Path, item_column: str, report: ImportReport) -> Catalogue:
    """Items, titles and attributes, in the order of item ids; what was left out goes into the report's notes.

    The item column is the one called as in the orders, else one of the usual names.
    """
    table = open_table(path)
    item = find_column(table.columns, f"{simplify(item_column)} {USUAL_NAMES['item']}")
    if item is None:
        raise UserError(
            f"{path} has no item column: call one {item_column!r}, as in the orders ({table.listed})"
        )
    others = [column if position != item else "" for position, column in enumerate(table.columns)]
    title = find_column(others, USUAL_NAMES["title"])
    cells, misfit = read_columns(table, range(len(table.columns)))
    full = misfit | ~cells.isna().all(axis=1)
    cells, misfit = cells[full], misfit[full]
    _check_items(cells[item], misfit, table)
    ids = as_text(cells[item])
    frame = pd.DataFrame({ITEM: ids.astype(str)})
    frame[TITLE] = frame[ITEM] if title is None else as_text(cells[title]).fillna(ids).astype(str)
    unique = []
    for position, column in enumerate(table.columns):
        if position in (item, title) or not column:
            continue
        values = attribute_values(cells[position], column, table.decimal_comma)
        if values is None:
            unique.append(column)
        else:
            frame[_free_name(column, frame.columns)] = values
    attributes = ", ".join(frame.columns[2:]) or "no attributes"
    report.notes.append(f"catalogue {path.name}: {len(frame)} items with {attributes}")
    if title is None:
        report.notes.append(f"{path.name} has no title column: the item ids are shown instead")
    if unique:
        report.notes.append(f"left out of the catalogue, different for every item: {', '.join(unique)}")
    return Catalogue(frame.sort_values(ITEM, ignore_index=True))


def _check_items(items: pd.Series, misfit: pd.Series, table: TableFile) -> None:
    for wrong, reason in ((misfit, MISFIT), (as_text(items).isna(), "no item")):
        if wrong.any():
            place = table.place(items.index[wrong])
            raise UserError(f"{table.path} has {reason} in {place}: mend it, every item needs its row")
    if items.empty:
        raise UserError(f"{table.path} holds no items: export it again")
    repeated = items[as_text(items).duplicated()]
    if len(repeated):
        raise UserError(
            f"{table.path} holds item {str(repeated.iloc[0])!r} more than once: keep one row an item"
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
    """A tuple of values for each cell, or None where no two items share a value.

    "red|blue" and "red; blue" are two values. Numbers of which there are many are binned; long numbers and
    columns called an id, code or the like are identifiers, not amounts.
    """
    text = as_text(cells.map(_joined))
    numbers = as_numbers(text, decimal_comma)
    if _are_amounts(text, numbers, header) and text.nunique() > MOST_DISTINCT_NUMBERS:
        return quantile_bins(numbers)
    split = text.fillna("").str.split(r"[|;]", regex=True)
    attribute = [tuple(dict.fromkeys(one.strip() for one in values if one.strip())) for values in split]
    held = pd.Series([value for values in attribute for value in values], dtype=str)
    return None if len(held) > 1 and held.is_unique else attribute


def _joined(cell: Any) -> Any:
    """A list of values, as Parquet can hold, written as CSV would have it."""
    return "|".join(map(str, cell)) if isinstance(cell, (list, tuple, np.ndarray)) else cell


def _are_amounts(text: pd.Series, numbers: pd.Series, header: str) -> bool:
    """Whether these are numbers that can be binned: none is missing a meaning, none identifies an item."""
    known = numbers.dropna()
    if known.empty or len(known) < text.notna().sum() or not np.isfinite(known).all():
        return False
    called_identifier = set(IDENTIFIERS.split()) & set(re.findall(r"[a-z]+", header.casefold()))
    long = (known >= 1e7).all() and (known % 1 == 0).all()
    return not called_identifier and not long


def quantile_bins(numbers: pd.Series) -> list[tuple[str, ...]]:
    """At most five bins of about as many items each, called by their bounds: ("400–500",); () for NaN.

    The bounds are rounded as far as they stay apart; a number on a bound belongs to the bin above it.
    """
    if numbers.isna().all():
        return [()] * len(numbers)
    shares = np.linspace(0, 1, MOST_BINS + 1)
    # The nearest number, since interpolating between equal ones can miss them by a rounding error.
    exact = np.unique(np.quantile(numbers.dropna().to_numpy(), shares, method="nearest"))
    if len(exact) == 1:
        only = np.format_float_positional(exact[0], trim="-")
        return [(only,) if known else () for known in numbers.notna()]
    coarsest = -int(np.floor(np.log10(exact[-1] - exact[0])))  # no step is wider than all bins together
    for decimals in range(coarsest, coarsest + 16):
        bounds = _round_outwards(exact, decimals)
        if len(np.unique(bounds)) == len(exact):
            break
    names = [np.format_float_positional(bound, trim="-") for bound in bounds]
    labels = [(f"{low}–{high}",) for low, high in pairwise(names)]
    places = np.searchsorted(bounds[1:-1], numbers.to_numpy(), side="right")
    return [labels[place] if known else () for place, known in zip(places, numbers.notna(), strict=True)]


def _round_outwards(bounds: Array, decimals: int) -> Array:
    """Round to so many decimals, but the first bound down and the last one up."""
    step = 10.0**-decimals
    outwards = bounds.copy()
    outwards[0] = np.floor(bounds[0] / step) * step
    outwards[-1] = np.ceil(bounds[-1] / step) * step
    return np.round(outwards, decimals)
