"""The linear model's two sums over devices: each device's part has norm 1 at most, and blocks bound memory.

popularity   r / max(|r|, C), r_i = 2^(−a_i / h) for each item i that the device has, a_i the age in days of
             its last purchase at a public instant, h = ∞ if all count alike. C = 0: r/|r|, whatever its norm.
gram         K/|K| in the Frobenius norm, over the head of the catalogue, K_ij = 2^(−|t_i − t_j| / h') for the
             items i, j that it has and 0 elsewhere, t_i the visits after the last one in which it has item i.
             With h' = ∞ it is the outer product of the device's unit row, the part of one device in the
             matrix of EASE (Steck 2019).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from client.events import Events
from client.profiles import clipped_rows, last_rows, recency_rows

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCK_PAIRS = 2**21  # of items held at a time; one device has at most head² / 2


def popularity_sum(
    events: Events, num_items: int, *, now: int = 0, half_life: float = 0.0, norm: float = 0.0
) -> Tensor:
    """The first sum: [items]. half_life: h, in days; norm: C."""
    rows = clipped_rows(recency_rows(events, num_items, now, half_life), norm)
    return torch.from_numpy(np.asarray(rows.sum(axis=0, dtype=np.float64)).reshape(-1)).float()


def packed_co_occurrence(events: Events, head: Integers, num_items: int, half_life: float) -> Tensor:
    """The second sum, packed: [head · (head + 1) / 2]. head: ascending items. half_life: h', in visits."""
    size = len(head)
    place = np.full(num_items, -1)
    place[head] = np.arange(size)
    starts = np.arange(size) * size - np.arange(size) * (np.arange(size) + 1) // 2  # of rows, less the column
    total = torch.zeros(size * (size + 1) // 2, dtype=torch.float64)
    for block in device_blocks(events, size):
        device, item, visits = distinct(block, place)
        left, right = pairs(device)
        apart = np.abs(visits[left] - visits[right])
        kernel = np.ones(len(left)) if half_life == 0 else np.exp2(-apart / half_life)
        twice = np.where(left == right, 1.0, 2.0)  # off the diagonal an entry stands twice
        norms = np.bincount(device[left], twice * kernel**2, block.num_devices)  # |K|²
        entries = kernel * np.sqrt(twice / norms[device[left]])
        total.index_add_(0, torch.from_numpy(starts[item[left]] + item[right]), torch.from_numpy(entries))
    return total.float()


def device_blocks(events: Events, head: int) -> Iterator[Events]:
    """Devices in order, as many at a time as have BLOCK_PAIRS pairs together, and at least one."""
    most = np.minimum(events.counts, head)
    reached = np.cumsum(most * (most + 1) // 2)
    start = 0
    while start < events.num_devices:
        before = reached[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(reached, before + BLOCK_PAIRS, side="right")))
        yield events.span(start, stop)
        start = stop


def distinct(events: Events, place: Integers) -> tuple[Integers, Integers, Doubles]:
    """What devices hold of the head, by device and item: device, place in the head, visits after its last.

    place: int64 [items], −1 off the head.
    """
    rows = last_rows(events, len(place))
    rows = rows[place[events.items[rows]] >= 0]
    return events.devices[rows], place[events.items[rows]], events.later_visits[rows].astype(np.float64)


def pairs(device: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """Rows left ≤ right of one device, all of them, for rows sorted by device: int64 [pairs] each."""
    ends = np.searchsorted(device, device, side="right")
    counts = ends - np.arange(len(device))
    left = np.repeat(np.arange(len(device)), counts)
    first = np.cumsum(counts) - counts
    right = left + np.arange(len(left)) - np.repeat(first, counts)
    return left, right
