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
import scipy.sparse
import torch
from torch import Tensor

from client.events import Events

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCK_PAIRS = 2**21  # of items held at a time; one device has at most head² / 2
DAY = 86_400.0  # seconds


def unit_rows(rows: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Each row brought to norm 1, one that holds nothing left at zero: sparse float32 [devices, items]."""
    rows = rows.astype(np.float64)
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return (scipy.sparse.diags(scale) @ rows).astype(np.float32).tocsr()


def purchases(events: Events, num_items: int, half_life: float = 0.0) -> scipy.sparse.csr_matrix:
    """How often a device bought an item, an event counting half half_life visits later; 0: all alike.

    Sparse float32 [devices, items].
    """
    counted = np.ones(len(events)) if half_life == 0 else np.exp2(-events.later_visits / half_life)
    shape = (events.num_devices, num_items)
    matrix = scipy.sparse.csr_matrix(
        (counted.astype(np.float32), events.items, events.offsets), shape=shape, copy=True
    )
    matrix.sum_duplicates()
    return matrix


def recency_rows(events: Events, num_items: int, now: int, half_life: float) -> scipy.sparse.csr_matrix:
    """2^(−age / half_life) of each device's last purchase of each item: sparse float32 [devices, items].

    now: seconds since 1970; what came after has the age 0. half_life: in days; 0: all alike.
    """
    age = np.maximum(now - events.times, 0) / DAY
    weights = np.ones(len(events)) if half_life == 0 else np.exp2(-age / half_life)
    pairs = events.devices * num_items + events.items
    order = np.argsort(pairs, kind="stable")  # of equal ones the last is the newest
    pairs = pairs[order]
    last = np.append(pairs[1:] != pairs[:-1], True)[: len(pairs)]
    pairs, weights = pairs[last], weights[order][last]
    counts = np.bincount(pairs // num_items, minlength=events.num_devices)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    shape = (events.num_devices, num_items)
    return scipy.sparse.csr_matrix((weights.astype(np.float32), pairs % num_items, offsets), shape)


def clipped_rows(rows: scipy.sparse.csr_matrix, norm: float) -> scipy.sparse.csr_matrix:
    """Each row divided by max(|row|, norm), so of norm 1 at most: sparse float32. norm: C; 0: all are."""
    if norm == 0:
        return unit_rows(rows)
    norms = np.sqrt(np.asarray(rows.astype(np.float64).power(2).sum(axis=1)).reshape(-1))
    return (scipy.sparse.diags(1.0 / np.maximum(norms, norm)) @ rows).astype(np.float32).tocsr()


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
    places = place[events.items]
    on_head = places >= 0
    device, item, visits = events.devices[on_head], places[on_head], events.later_visits[on_head]
    numbers = device * (len(place) + 1) + item
    order = np.argsort(numbers, kind="stable")  # of equal ones the last is the newest
    numbers = numbers[order]
    last = np.append(numbers[1:] != numbers[:-1], True)[: len(numbers)]
    chosen = order[last]
    return device[chosen], item[chosen], visits[chosen].astype(np.float64)


def pairs(device: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """Rows left ≤ right of one device, all of them, for rows sorted by device: int64 [pairs] each."""
    ends = np.searchsorted(device, device, side="right")
    counts = ends - np.arange(len(device))
    left = np.repeat(np.arange(len(device)), counts)
    first = np.cumsum(counts) - counts
    right = left + np.arange(len(left)) - np.repeat(first, counts)
    return left, right
