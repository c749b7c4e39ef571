"""Cancelled and refunded orders, and returns: what they are called, and what they leave of a purchase."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_values, by_distinct
from terrycloth.experiments.datasets.headers import simplify
from terrycloth.experiments.datasets.visits import NO_ORDER

Array = npt.NDArray[Any]

CANCELLED = "a cancelled order"
REFUNDED = "a refunded order"
PARTLY_REFUNDED = "partly refunded"
RETURN = "a return (a quantity below 0)"
RETURNED = "a purchase that was returned in full"

# Statuses in English, German and French, as `simplify` writes them, without WooCommerce's "wc-".
STATUSES = {
    CANCELLED: "cancelled canceled voided void failed declined expired trash abandoned draft checkoutdraft "
    "storniert stornierung abgebrochen fehlgeschlagen abgelehnt annule annulee echoue echouee",
    REFUNDED: "refunded returned chargedback erstattet ruckerstattet zuruckerstattet retourniert rembourse "
    "remboursee retourne retournee",
    PARTLY_REFUNDED: "partiallyrefunded refundedpartially partlyrefunded partiallyreturned returnedpartially "
    "teilweiseerstattet teilerstattet partiellementrembourse partiellementremboursee",
}
CANCELLATION_HEADERS = ("cancel", "storn")  # a date, or yes, in such a column is a cancellation
NO = frozenset(["no", "false", "0", "nein", "non", "n", "f"])


def fates(cells: pd.Series, header: str, refunded_words: str = "") -> pd.Series:
    """What a column of statuses says of each row: CANCELLED, REFUNDED, PARTLY_REFUNDED or "".

    refunded_words: further words for a refunded order, which mean so in one system alone.
    """
    words = {word: fate for fate, names in STATUSES.items() for word in names.split()}
    words |= dict.fromkeys(refunded_words.split(), REFUNDED)
    of_cancellation = simplify(header).startswith(CANCELLATION_HEADERS)

    def fate_of(cell: Any) -> str:
        if pd.isna(cell):
            return ""
        plain = simplify(str(cell)).removeprefix("wc")
        if of_cancellation:
            return "" if plain in NO or not plain else CANCELLED
        return words.get(plain, "")

    return by_distinct(as_values(cells), lambda distinct: distinct.map(fate_of).astype(object))


def left_after_returns(rows: pd.DataFrame) -> pd.Series:
    """The weights after the returns within each order: float64 [rows], 0 for what was returned in full.

    rows: the columns shopper, item, order and weight, in which a return has a negative weight. A return of an
    item lessens the purchases of it in the same order; returns themselves keep their weights.
    """
    index, rows = rows.index, rows.reset_index(drop=True)  # rows of a packed cell share a line
    weight = rows["weight"].astype("float64")
    linked = (
        (rows["order"] != NO_ORDER) & rows["shopper"].notna() & rows["item"].notna() & np.isfinite(weight)
    )
    returned = np.zeros(len(rows) + 1, dtype=np.bool_)  # by order
    returned[rows["order"][linked & (weight < 0)]] = True
    linked &= returned[rows["order"]]
    if not linked.any():
        return weight.set_axis(index)
    of_orders = weight[linked]
    keys = [rows["shopper"].cat.codes[linked], rows["order"][linked], rows["item"][linked]]
    bought = of_orders.clip(lower=0).groupby(keys).transform("sum")
    back = (-of_orders).clip(lower=0).groupby(keys).transform("sum")
    left = of_orders * (bought - back).clip(lower=0) / bought.where(bought > 0, 1.0)
    return weight.where(~linked | (weight <= 0), left.reindex(weight.index)).set_axis(index)
