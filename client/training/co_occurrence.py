"""The linear model's two sums over devices: each device's part has norm 1 at most.

popularity   r / max(|r|, C), r_i = 2^(−a_i / h) for each item i that the device has, a_i the age in days of
             its last purchase at a public instant, h = ∞ if all count alike. C = 0: r/|r|, whatever its norm.
gram         K/|K| in the Frobenius norm, over the head of the catalogue, K_ij = 2^(−|t_i − t_j| / h') for the
             items i, j that it has and 0 elsewhere, t_i the visits after the last one in which it has item i.
             With h' = ∞ it is the outer product of the device's unit row, the part of one device in the
             matrix of EASE (Steck 2019).

Both are in double precision, and take memory for the sum and for the events alone.
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
    """The first sum: [items]. half_life: h, in days; norm: C."""
    rows = clipped_rows(recency_rows(events, num_items, now, half_life), norm)
    return torch.from_numpy(np.asarray(rows.sum(axis=0, dtype=np.float64)).reshape(-1))


def packed_co_occurrence(events: Events, head: Integers, num_items: int, half_life: float) -> Tensor:
    """The second sum, packed: [head · (head + 1) / 2]. head: ascending items. half_life: h', in visits."""
    place = np.full(num_items, -1)
    place[head] = np.arange(len(head))
    device, places, visits = distinct(events, place)
    offsets = np.searchsorted(device, np.arange(events.num_devices + 1))
    apart = np.arange(int(visits.max(initial=0)) + 1)
    weights = np.ones(len(apart)) if half_life == 0 else np.exp2(-apart / half_life)
    total = np.zeros(len(head) * (len(head) + 1) // 2)
    add_kernels(offsets, places, visits, weights, len(head), total)
    return torch.from_numpy(total)


def distinct(events: Events, place: Integers) -> tuple[Integers, Integers, Integers]:
    """What devices hold of the head, by device and item: device, place in the head, visits after its last.

    place: int64 [items], −1 off the head.
    """
    rows = last_rows(events, len(place))
    rows = rows[place[events.items[rows]] >= 0]
    return events.devices[rows], place[events.items[rows]], events.later_visits[rows]
