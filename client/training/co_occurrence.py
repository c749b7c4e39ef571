"""The linear model's two sums over devices. Each device's term has norm at most 1.

popularity   r / max(|r|, C), where r_i = 2^(−a_i / h) for each item i that the device has, and a_i is the age
             in days of its last purchase of i at a public instant. h = ∞: all purchases count equally.
             C = 0: r/|r|, whatever its norm.
gram         K/|K| in the Frobenius norm, over the head (the most popular items) of the catalogue, where
             K_ij = 2^(−|t_i − t_j| / h') for items i, j that the device has and 0 elsewhere, and t_i is the
             number of visits after the last visit with item i. With h' = ∞ it is the outer product of the
             device's unit row, which is the term of one device in the Gram matrix of EASE (Steck 2019).

Both sums are in double precision, and need memory only for the sum and the events.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.compiled.pair_sums import add_kernels
from terrycloth.client.training.profiles import clipped_rows, last_rows, recency_rows

Integers = npt.NDArray[np.int64]


def popularity_sum(
    events: Events, num_items: int, *, now: int = 0, half_life: float = 0.0, norm: float = 0.0
) -> Tensor:
    """The popularity: [items].

    now: the public instant, in seconds since 1970. half_life: h, in days, 0 for ∞. norm: C.
    """
    rows = clipped_rows(recency_rows(events, num_items, now, half_life), norm)
    return torch.from_numpy(np.asarray(rows.sum(axis=0, dtype=np.float64)).reshape(-1))


def packed_co_occurrence(events: Events, head: Integers, num_items: int, half_life: float) -> Tensor:
    """The Gram matrix, packed: [head · (head + 1) / 2].

    head: int64 [head], ascending items. half_life: h', in visits, 0 for ∞.
    """
    place = np.full(num_items, -1)
    place[head] = np.arange(len(head))
    device, places, visits = distinct(events, place)
    offsets = np.searchsorted(device, np.arange(events.num_devices + 1))
    distances = np.arange(int(visits.max(initial=0)) + 1)  # in visits
    weights = np.ones(len(distances)) if half_life == 0 else np.exp2(-distances / half_life)
    total = np.zeros(len(head) * (len(head) + 1) // 2)
    add_kernels(offsets, places, visits, weights, len(head), total)
    return torch.from_numpy(total)


def distinct(events: Events, place: Integers) -> tuple[Integers, Integers, Integers]:
    """The different items of the head that each device holds, ordered by device and item.

    place: int64 [items], each item's place in the head, −1 outside the head. Returns, for each pair of a
    device and an item, the device, the item's place in the head, and the visits after the last one with that
    item.
    """
    rows = last_rows(events, len(place))
    rows = rows[place[events.items[rows]] >= 0]
    return events.devices[rows], place[events.items[rows]], events.later_visits[rows]
