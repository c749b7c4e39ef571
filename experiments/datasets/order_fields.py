"""Order fields that an export gives once an order: filled down to the other lines of the order.

Shopify, for example, writes the shopper and the status on an order's first line only. Where the lines bear an
order id, a field is taken from the line with the same id, wherever it stands. Where the order id itself
stands on the first line only, the lines below belong to it: only then does the order of the file's rows
count.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.visits import NO_ORDER

Array = npt.NDArray[Any]


def orders_from_above(orders: Array, no_field: Array, misfit: Array) -> Array:
    """Give lines without an order id that of the line above, in an export that names each order once.

    orders: int64 [rows], NO_ORDER where there is none. no_field: bool [rows], the lines on which no field of
    an order is filled. misfit: bool [rows], lines that could not be read, any of which may have begun an
    order. If an order id occurs twice, or a line has other fields of an order but no id, nothing is changed.
    """
    begins = orders != NO_ORDER
    if (~begins & ~no_field & ~misfit).any() or len(np.unique(orders[begins])) < begins.sum():
        return orders
    last = np.maximum.accumulate(np.where(begins | misfit, np.arange(len(orders)), -1))
    return np.where(~begins & ~misfit & (last >= 0), orders[last], orders)


def filled_down(column: pd.Series, orders: Array) -> tuple[pd.Series, int]:
    """Fill missing cells from the order's other lines, if these agree; also return how many were filled."""
    missing = column.isna().to_numpy() & (orders != NO_ORDER)
    known = column.notna().to_numpy() & (orders != NO_ORDER)
    if not missing.any() or not known.any():
        return column, 0
    codes, distinct = pd.factorize(column[known])
    lowest = np.full(int(orders.max()) + 1, len(distinct))
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, orders[known], codes)
    np.maximum.at(highest, orders[known], codes)
    fill = missing & (lowest == highest)[orders]
    filled = column.copy()
    filled[fill] = pd.Series(distinct).take(lowest[orders[fill]]).to_numpy()
    return filled, int(fill.sum())
