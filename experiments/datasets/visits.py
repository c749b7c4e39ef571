"""Visits: group the lines of a file into what a shopper bought at one instant, on one day or in one order.

Once imported, a visit is identified by its time alone (`client.events`). Order ids are read to find the
visits and are not kept. The result does not depend on the order of the lines, with one exception: the report
counts how many visits a file lists sorted by item.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from terrycloth.client.events import Events
from terrycloth.experiments.datasets.cell_values import as_values
from terrycloth.experiments.datasets.import_report import FileOrder, ImportReport
from terrycloth.models.times import DAY

Array = npt.NDArray[Any]

NO_ORDER = -1
NEARLY_ALL = 0.9  # share of the visits with several items that must be sorted for a note
FEWEST_VISITS = 20  # visits that such a note needs; by chance, at most half of them would be sorted


@dataclass(frozen=True)
class Lines:
    """The lines of a file, in the file's order.

    devices, items: int64 [lines]. seconds: int64 [lines], the times in seconds since 1970. weights: [lines].
    orders: int64 [lines], one number per order id, NO_ORDER for a line without an id; None if there are no
    order ids.
    """

    devices: Array
    items: Array
    seconds: Array
    weights: Array
    orders: Array | None = None

    def without_times(self, num_devices: int) -> Events:
        """The lines as events, with one visit per shopper because the order of purchases is unknown."""
        return Events.from_columns(
            self.devices, self.items, np.zeros_like(self.devices), self.weights, num_devices
        )


def order_numbers(cells: pd.Series) -> Array:
    """Replace order ids by numbers that only distinguish orders: int64, NO_ORDER for a blank cell."""
    return np.asarray(pd.factorize(as_values(cells))[0], dtype=np.int64)


def seconds_of(times: pd.Series) -> Array:
    """Convert times (datetime64, UTC) to whole seconds since 1970: int64."""
    return np.asarray(times.dt.tz_localize(None).dt.as_unit("s").to_numpy(), dtype=np.int64)


def events_in_visits(
    lines: Lines,
    num_devices: int,
    item_ids: pd.Series,
    visit: Literal["instant", "day"],
    report: ImportReport,
) -> Events:
    """Turn lines into events at the times of their visits; note in the report what a visit is.

    If there are order ids, each order is a visit, at the instant of its first line. Orders of a shopper that
    share an instant are one visit. A line without an order id keeps its own instant.
    """
    seconds = visit_seconds(lines, visit)
    if lines.orders is not None:
        report.notes.append(
            "each order is a visit, at the instant of its first line; the order ids are not kept"
        )
        if visit == "day":
            report.notes.append(
                "--visit day has no effect here: there are order ids, and each order is a visit"
            )
    elif visit == "day":
        report.notes.append("what a shopper bought on one day (UTC) is one visit")
    report.file_order = order = file_order(lines, seconds, item_ids)
    if order.visits >= FEWEST_VISITS and order.ascending > NEARLY_ALL * order.visits:
        report.notes.append(
            f"the file lists {order.ascending / order.visits:.0%} of the visits with several items in "
            f"ascending order of item id ({order.by_chance / order.visits:.0%} by chance): that order does "
            "not show what came first, and is not used"
        )
    return Events.from_columns(lines.devices, lines.items, seconds, lines.weights, num_devices)


def visit_seconds(lines: Lines, visit: Literal["instant", "day"]) -> Array:
    """The time of each line's visit: int64 [lines]."""
    if lines.orders is None:
        return lines.seconds // DAY * DAY if visit == "day" else lines.seconds
    # An order belongs to one shopper: if two shoppers share an id, each has an order of their own.
    width = int(lines.orders.max(initial=0)) + 2
    _, order = np.unique(lines.devices * width + lines.orders - NO_ORDER, return_inverse=True)
    first = np.full(int(order.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, order, lines.seconds)
    return np.where(lines.orders == NO_ORDER, lines.seconds, first[order])


def orders_of_several(lines: Lines) -> float:
    """The share of order ids with several shoppers: near 0 for true order ids, near 1 for an order status."""
    assert lines.orders is not None
    known = lines.orders != NO_ORDER
    width = int(lines.orders.max(initial=0)) + 1
    pairs = np.unique(lines.devices[known] * width + lines.orders[known])
    shoppers = np.bincount(pairs % width)
    return float((shoppers > 1).sum() / max(1, (shoppers > 0).sum()))


def file_order(lines: Lines, seconds: Array, item_ids: pd.Series) -> FileOrder:
    """Count the visits with several items that a file lists in ascending order of item id.

    seconds: the time of each line's visit. The number expected by chance comes from this: of n lines, mᵢ of
    them of item i, one random order in n! / Π mᵢ! is ascending.
    """
    order = np.lexsort((seconds, lines.devices))  # stable: keeps the file's order inside a visit
    devices, seconds, items = lines.devices[order], seconds[order], lines.items[order]
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (devices[1:] != devices[:-1]) | (seconds[1:] != seconds[:-1])
    visits = np.cumsum(begins) - 1
    num_visits = int(visits.max(initial=-1)) + 1
    ranks = item_ranks(item_ids)[items]
    descents = ~begins[1:] & (ranks[1:] < ranks[:-1])
    descents_in = np.bincount(visits[1:][descents], minlength=num_visits)
    pairs, times = np.unique(visits * len(item_ids) + items, return_counts=True)
    visit_of = pairs // max(1, len(item_ids))
    different = np.bincount(visit_of, minlength=num_visits)
    log_repeats = np.bincount(visit_of, gammaln(times + 1.0), minlength=num_visits)  # log Π mᵢ!
    chance = np.exp(log_repeats - gammaln(np.bincount(visits, minlength=num_visits) + 1.0))
    several = different >= 2
    ascending = several & (descents_in == 0)
    return FileOrder(int(several.sum()), int(ascending.sum()), float(chance[several].sum()))


def item_ranks(item_ids: pd.Series) -> Array:
    """The rank of each item id, by number if all are whole numbers, else by text: int64."""
    text = item_ids.astype(str)
    keys = [int(item) for item in text] if text.str.fullmatch("[0-9]+").all() else list(text)
    places = {key: place for place, key in enumerate(sorted(set(keys)))}  # type: ignore[type-var]
    return np.array([places[key] for key in keys], dtype=np.int64)
