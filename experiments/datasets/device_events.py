"""Read what one shopper bought from a file, for the shopper's own device: item, time and weight."""

from pathlib import Path

import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_ids
from terrycloth.experiments.datasets.headers import find_column, names_of
from terrycloth.experiments.datasets.numbers import as_numbers, marks_of
from terrycloth.experiments.datasets.tables import open_table, read_columns
from terrycloth.experiments.datasets.times import read_times
from terrycloth.models.errors import UserError

Purchase = tuple[str, int, float]


def read_device_events(path: Path) -> list[Purchase]:
    """Return item, time in seconds since 1970, and weight of each row; the weight is 1 without such a column.

    The columns are found by their usual names, as in an order export. Raises UserError, with the lines, if a
    column is missing or a cell cannot be read: a device keeps all of a file or none of it.
    """
    table = open_table(path)
    found = {
        part: find_column(table.columns, f"{part} {names_of(part)}") for part in ("item", "time", "weight")
    }
    positions = {part: place for part, place in found.items() if place is not None}
    for part in ("item", "time"):
        if part not in positions:
            raise UserError(f"{path} has no column {part!r}: {table.listed}")
    cells, misfit = read_columns(table, list(positions.values()))
    cells.columns = pd.Index(list(positions))
    if misfit.any():
        raise UserError(
            f"{path}, {table.place(cells.index[misfit])}: another number of cells than the header"
        )
    items = as_ids(cells["item"], table.columns[positions["item"]], table)
    times, _, _ = read_times(cells["time"], table.columns[positions["time"]], table)
    weights = pd.Series(1.0, index=cells.index)
    if "weight" in cells:
        weights = as_numbers(cells["weight"], marks_of([cells["weight"]], table.decimal_comma))
    bad = items.isna() | times.isna() | ~(weights > 0)
    if bad.any():
        raise UserError(
            f"{path}, {table.place(cells.index[bad])}: an item, a time, or a weight above 0 is missing or"
            " cannot be read: correct it; nothing was added"
        )
    seconds = [int(instant.timestamp()) for instant in times]
    return list(zip(items.astype(str), seconds, weights.astype(float), strict=True))
