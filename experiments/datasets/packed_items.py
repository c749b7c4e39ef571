"""Unpack exports with one row per order, whose items are packed into one cell or several.

Shopware 6 writes `2x 0193ab|1x 0193cd`; exports of WooCommerce write `name:Towel|sku:T-1|quantity:2`, several
separated by semicolons, or one in each of the columns line_item_1, line_item_2 ….
"""

import re

import numpy as np
import pandas as pd

COUNTED = r"(\d+)\s*x\s+(\S+)"


def items_of_cell(cell: str) -> list[tuple[str | None, str]]:
    """The items of a cell with their quantities as text; the item is None in what cannot be understood."""
    if re.match(COUNTED, cell):
        counted = [re.fullmatch(COUNTED, part.strip()) for part in cell.split("|")]
        return [(each[2], each[1]) if each else (None, "1") for each in counted]
    found = []
    for part in cell.split(";"):
        fields = dict(pair.partition(":")[::2] for pair in part.strip().split("|"))
        item = fields.get("sku", "").strip() or fields.get("product_id", "").strip() or None
        found.append((item, fields.get("quantity", "1").strip()))
    return found


def unpacked(cells: pd.DataFrame, packed: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Give every packed item a row of its own, with the columns "item" and "weight" added.

    packed: the columns that hold items. Also returns the place of each new row's old row: int64 [rows]. A row
    without items stays one row, whose item is missing.
    """
    places: list[int] = []
    items: list[str | None] = []
    quantities: list[str] = []
    for place, row in enumerate(cells[packed].itertuples(index=False)):
        found = [pair for cell in row if isinstance(cell, str) for pair in items_of_cell(cell)]
        for item, quantity in found or [(None, "")]:
            places.append(place)
            items.append(item)
            quantities.append(quantity)
    taken = np.array(places, dtype=np.int64)
    rows = cells.drop(columns=packed).iloc[taken]
    rows["item"] = pd.array(items, dtype="string")
    rows["weight"] = pd.array(quantities, dtype="string")
    return rows, taken
