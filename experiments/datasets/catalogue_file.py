"""Read a brand's catalogue file into a Catalogue: one row per item, with its id, title and attributes."""

import re
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_ids, as_text, as_values
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.headers import find_column, names_of, simplify
from terrycloth.experiments.datasets.import_report import CatalogueRead, ImportReport, Problem
from terrycloth.experiments.datasets.numbers import Marks, as_numbers, marks_of
from terrycloth.experiments.datasets.product_export import CatalogueCells, products
from terrycloth.experiments.datasets.shop_formats import product_layout
from terrycloth.experiments.datasets.tables import EXAMPLE_ROWS, MISFIT, TableFile, read_columns
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError

Array = npt.NDArray[Any]

# Words in the headers of columns that identify items: their numbers are not amounts and are never binned.
IDENTIFIERS = "id ean gtin upc isbn asin barcode number no code index row url"

MOST_DISTINCT_NUMBERS = 20  # an attribute with more distinct numbers than this is binned
MOST_BINS = 5
MOSTLY_NUMBERS = 0.9  # share of a column's cells that must be numbers for it to be one of amounts
LONGEST_SHOWN = 40  # characters of a cell in a message
POINT = Marks()
UNIQUE = "as every item has another value"


def read_catalogue(
    table: TableFile, item_column: str, report: ImportReport, options: DataOptions | None = None
) -> Catalogue:
    """Read the items, titles and attributes, sorted by item id; say in the report what is left out.

    An export of a known shop system is read by its layout. In another file the item column is the one with
    the same name as in the orders (`item_column`), or else with one of the usual names. Raises UserError if
    there is none, or if an item is missing or repeated.
    """
    options = options or DataOptions()
    title = None
    if options.title_column:
        title = find_column(table.columns, simplify(options.title_column))
        if title is None:
            raise UserError(
                f"{table.path} has no column {options.title_column!r} for --title-column: {table.listed}"
            )
    cells, misfit = read_columns(table, range(len(table.columns)))
    blank = cells.isna().all(axis=1)
    cells, misfit = cells[misfit | ~blank], misfit[misfit | ~blank]
    if misfit.any():
        _refuse(table, MISFIT, misfit)
    layout = product_layout(table.columns, options.format)
    if layout is None:
        found = _plain(cells, table, item_column, title)
    else:
        found = products(cells, table, layout, item_column, title)
    _check_items(found.items, found.item_column, table)
    marks = marks_of(found.attributes.values(), table.decimal_comma)
    ids = found.items.astype(str)
    frame = pd.DataFrame(
        {ITEM: ids, TITLE: ids if found.titles is None else found.titles.fillna(ids).astype(str)}
    )
    for name, values in found.attributes.items():
        text = as_values(values.map(_joined))
        if name in found.lists:
            text = text.str.replace(",", "|", regex=False)
        attribute = attribute_values(text, name, marks, declared=name in found.declared)
        if attribute is None:
            found.columns_dropped[name] = UNIQUE
        else:
            frame[_free_name(name, frame.columns)] = attribute
            _note_odd_cells(text, name, marks, table, report)
    report.catalogue = CatalogueRead(
        table.path.name,
        layout.name if layout else "a table of items",
        len(cells),
        len(frame),
        found.item_column,
        found.title_column,
        tuple(frame.columns[2:]),
        found.rows_dropped,
        found.columns_dropped,
    )
    return Catalogue(frame.sort_values(ITEM, ignore_index=True))


def _plain(cells: pd.DataFrame, table: TableFile, item_column: str, title: int | None) -> CatalogueCells:
    """A table with one row per item, of which every other column is an attribute."""
    item = find_column(table.columns, f"{simplify(item_column)} {names_of('item')}")
    if item is None:
        wanted = f"name one {item_column!r}, as in the orders" if item_column else "name one of them sku"
        raise UserError(f"{table.path} has no item column: {wanted} ({table.listed})")
    others = [column if position != item else "" for position, column in enumerate(table.columns)]
    title = find_column(others, names_of("title")) if title is None else title
    return CatalogueCells(
        as_ids(cells[item], table.columns[item], table),
        None if title is None else as_text(cells[title]),
        {
            _free_name(column, pd.Index(table.columns[:position])): cells[position]
            for position, column in enumerate(table.columns)
            if position not in (item, title) and column
        },
        table.columns[item],
        None if title is None else table.columns[title],
    )


def _refuse(table: TableFile, reason: str, bad: pd.Series) -> None:
    place = table.place(bad.index[bad])
    raise UserError(f"{table.path} has {reason} in {place}: correct it, every row needs an item")


def _check_items(items: pd.Series, header: str, table: TableFile) -> None:
    if items.isna().any():
        _refuse(table, "no item", items.isna())
    if items.empty:
        raise UserError(f"{table.path} holds no items in column {header!r}: fill it in, or export it again")
    repeated = items[items.duplicated()]
    if len(repeated):
        raise UserError(
            f"{table.path} holds item {str(repeated.iloc[0])!r} more than once: keep one row per item"
        )


def _note_odd_cells(text: pd.Series, name: str, marks: Marks, table: TableFile, report: ImportReport) -> None:
    """Say which cells of a column of amounts are no numbers; they are left empty."""
    numbers = amounts(text, name, marks)
    if numbers is None:
        return
    odd = text[text.notna() & numbers.isna()]
    if len(odd):
        shown = ", ".join(repr(str(cell)[:LONGEST_SHOWN]) for cell in odd.unique()[:EXAMPLE_ROWS])
        what = (
            f"cells of {name!r} in {table.path.name} that are no numbers, and are left empty, such as {shown}"
        )
        report.problems.append(Problem(what, len(odd), table.place(odd.index)))


def _free_name(name: str, taken: pd.Index) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} {number}", number + 1
    return free


def attribute_values(
    cells: pd.Series, header: str, marks: Marks = POINT, declared: bool = False
) -> list[tuple[str, ...]] | None:
    """Return a tuple of values for each cell, or None if no two items share a value and it is not `declared`.

    "red|blue" and "red; blue" are two values. A column of amounts (`amounts`) is binned; a cell of it that is
    no number is empty.
    """
    text = as_values(cells.map(_joined))
    numbers = amounts(text, header, marks)
    if numbers is not None:
        return quantile_bins(numbers)
    split = text.fillna("").str.split(r"[|;]", regex=True)
    attribute = [tuple(dict.fromkeys(one.strip() for one in values if one.strip())) for values in split]
    all_values = pd.Series([value for values in attribute for value in values], dtype=str)
    return None if not declared and len(all_values) > 1 and all_values.is_unique else attribute


def _joined(cell: Any) -> Any:
    """Join a list of values, which a Parquet cell can hold, into the text that a CSV cell would hold."""
    return "|".join(map(str, cell)) if isinstance(cell, (list, tuple, np.ndarray)) else cell


def amounts(text: pd.Series, header: str, marks: Marks) -> pd.Series | None:
    """The numbers of a column that can be binned: float64, NaN where a cell is none. None for another column.

    It has more than 20 distinct numbers, in nearly all its cells: an odd cell such as "on request" does not
    turn amounts into categories. No number is long, and the header does not say id, code or the like: those
    identify items.
    """
    numbers = as_numbers(text, marks)
    known = numbers.dropna()
    if known.nunique() <= MOST_DISTINCT_NUMBERS or not np.isfinite(known).all():
        return None
    if len(known) < MOSTLY_NUMBERS * text.notna().sum():
        return None
    named_identifier = set(IDENTIFIERS.split()) & set(re.findall(r"[a-z]+", header.casefold()))
    long = (known >= 1e7).all() and (known % 1 == 0).all()
    return None if named_identifier or long else numbers


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
