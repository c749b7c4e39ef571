"""Visits: how the lines of a file become what a shopper bought at one instant, on one day or in one order.

Once imported, a visit is told by its time alone (`client.events`): an order id is read to find it, and is not
kept. Nothing that comes out depends on the order of the lines, but for one fact that is counted before it is
lost: whether a file sorts the lines of a visit by item.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from terrycloth.client.events import Events
from terrycloth.experiments.datasets.cell_values import as_text
from terrycloth.experiments.datasets.dataset import FileOrder, ImportReport

Array = npt.NDArray[Any]

DAY = 86_400  # seconds
NO_ORDER = -1
NEARLY_ALL = 0.9  # of the visits with several items
FEWEST_VISITS = 20  # of which that says something: by chance alone no more than half would be sorted


@dataclass(frozen=True)
class Lines:
    """Lines of a file, in its order: whose each is, of which item, when, and how much.

    devices, items: int64 [lines]. seconds: int64 [lines], since 1970. weights: [lines]. orders: int64
    [lines], a number an order id, NO_ORDER where a line has none; None where there are no order ids.
    """

    devices: Array
    items: Array
    seconds: Array
    weights: Array
    orders: Array | None = None

    def without_times(self, num_devices: int) -> Events:
        """One visit a shopper, since nothing says what came first."""
        return Events.from_columns(
            self.devices, self.items, np.zeros_like(self.devices), self.weights, num_devices
        )


def order_numbers(cells: pd.Series) -> Array:
    """Order ids as numbers, which tell orders apart and nothing else: int64, NO_ORDER where blank."""
    return np.asarray(pd.factorize(as_text(cells))[0], dtype=np.int64)


def seconds_of(times: pd.Series) -> Array:
    """Times (datetime64, UTC) as whole seconds since 1970: int64."""
    return np.asarray(times.dt.tz_localize(None).dt.as_unit("s").to_numpy(), dtype=np.int64)


def events_in_visits(
    lines: Lines,
    num_devices: int,
    item_ids: pd.Series,
    visit: Literal["instant", "day"],
    report: ImportReport,
) -> Events:
    """Lines as events at the time of their visit; the report says what a visit is, and how the file sorts it.

    Where there are orders, an order is a visit, at the instant of its first line. Orders of a shopper that
    share an instant are one visit; a line without an order id stands at its own instant.
    """
    seconds = visit_seconds(lines, visit)
    if lines.orders is not None:
        report.notes.append(
            "order ids became visits (an order is at the instant of its first line); none is kept"
        )
        if visit == "day":
            report.notes.append(
                "--visit day changes nothing here: there are order ids, and each order is a visit"
            )
    elif visit == "day":
        report.notes.append("what a shopper bought on one day (UTC) is one visit")
    report.file_order = found = file_order(lines, seconds, item_ids)
    if found.visits >= FEWEST_VISITS and found.ascending > NEARLY_ALL * found.visits:
        report.notes.append(
            f"in {found.ascending / found.visits:.0%} of the visits with several items the file has them in "
            f"ascending order of item id ({found.by_chance / found.visits:.0%} by chance): that order is the "
            "file's own, says nothing of what came first, and is not used"
        )
    return Events.from_columns(lines.devices, lines.items, seconds, lines.weights, num_devices)


def visit_seconds(lines: Lines, visit: Literal["instant", "day"]) -> Array:
    """The time of each line's visit: int64 [lines]."""
    if lines.orders is None:
        return lines.seconds // DAY * DAY if visit == "day" else lines.seconds
    # An order belongs to one shopper: two who share a number have an order each.
    width = int(lines.orders.max(initial=0)) + 2
    _, order = np.unique(lines.devices * width + lines.orders - NO_ORDER, return_inverse=True)
    first = np.full(int(order.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, order, lines.seconds)
    return np.where(lines.orders == NO_ORDER, lines.seconds, first[order])


def orders_of_several(lines: Lines) -> float:
    """The share of order ids that stand beside several shoppers: 0 for the ids of orders, 1 for a status."""
    assert lines.orders is not None
    known = lines.orders != NO_ORDER
    width = int(lines.orders.max(initial=0)) + 1
    pairs = np.unique(lines.devices[known] * width + lines.orders[known])
    shoppers = np.bincount(pairs % width)
    return float((shoppers > 1).sum() / max(1, (shoppers > 0).sum()))


def file_order(lines: Lines, seconds: Array, item_ids: pd.Series) -> FileOrder:
    """How many visits with several items a file lists in ascending order of item id, and what chance gives.

    seconds: of the visits. Of n lines, mᵢ of them of item i, one random order in n! / Π mᵢ! is ascending.
    """
    order = np.lexsort((seconds, lines.devices))  # stable: inside a visit the file's own order
    devices, seconds, items = lines.devices[order], seconds[order], lines.items[order]
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (devices[1:] != devices[:-1]) | (seconds[1:] != seconds[:-1])
    visits = np.cumsum(begins) - 1
    number = int(visits.max(initial=-1)) + 1
    ranks = item_ranks(item_ids)[items]
    falls = ~begins[1:] & (ranks[1:] < ranks[:-1])
    fallen = np.bincount(visits[1:][falls], minlength=number)
    pairs, times = np.unique(visits * len(item_ids) + items, return_counts=True)
    visit_of = pairs // max(1, len(item_ids))
    different = np.bincount(visit_of, minlength=number)
    alike = np.bincount(visit_of, gammaln(times + 1.0), minlength=number)
    chance = np.exp(alike - gammaln(np.bincount(visits, minlength=number) + 1.0))
    several = different >= 2
    return FileOrder(int(several.sum()), int((several & (fallen == 0)).sum()), float(chance[several].sum()))


def item_ranks(item_ids: pd.Series) -> Array:
    """The place of each item id among all, by number where all are whole numbers, else by text: int64."""
    text = item_ids.astype(str)
    keys = [int(one) for one in text] if text.str.fullmatch("[0-9]+").all() else list(text)
    places = {key: place for place, key in enumerate(sorted(set(keys)))}  # type: ignore[type-var]
    return np.array([places[key] for key in keys], dtype=np.int64)
