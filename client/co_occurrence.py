"""The linear model's two sums over devices, each device's part of norm 1: in blocks of bounded memory.

Over the head of the catalogue, with d the direction of popularity there and t_i the visits after the last
one in which a device has item i (bought again, an item counts once, at its last visit):

    K_ij = 2^(−|t_i − t_j| / h) for items i, j that it has, 0 elsewhere;  P = I − ddᵀ;
    its part is PKP / |PKP|

in Frobenius norms: a sensitivity of 1 asks for no more, so a device need not send one outer product. With
h = ∞ it is that of its row with popularity taken out. PKP = K − d(Kd)ᵀ − (Kd)dᵀ + (dᵀKd)ddᵀ is spelt out once
for all devices, of whom only ΣK/f, ΣKd/f and ΣdᵀKd/f are added up, with

    f² = |PKP|² = |K|² − 2|Kd|² + (dᵀKd)²
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor

from client.events import Events
from models.head import head_items, popularity_direction

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCK_PAIRS = 2**21  # of items held at a time; one device has at most head² / 2

# Of |K|². f² is a difference of sums of head² numbers at most, each right to head²·2⁻⁵³ of |K|², 3e-9. Above
# this part of it f is right to 6e-6, within the slack that ROUNDING leaves. A device below has next to
# nothing beside popularity, and adds nothing.
LEAST_BESIDE = 1e-3


@dataclass(frozen=True)
class Head:
    """items: int64 [head], ascending. place: int64 [catalogue], −1 off the head. direction: d [head]."""

    items: Integers
    place: Integers
    direction: Doubles

    @classmethod
    def of(cls, popularity: Tensor, size: int) -> "Head":
        """Read off a released popularity [catalogue], whatever it holds."""
        items = head_items(popularity, size).numpy()
        place = np.full(len(popularity), -1)
        place[items] = np.arange(len(items))
        direction = popularity_direction(popularity).numpy()[items]
        return cls(items, place, direction / np.linalg.norm(direction))


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


def popularity_sum(events: Events, num_items: int) -> Tensor:
    """Σ_u x_u/|x_u|: [items], x_u 1 where a device has an item, however often."""
    rows = purchases(events, num_items)
    rows.data[:] = 1.0
    return torch.from_numpy(np.asarray(unit_rows(rows).sum(axis=0, dtype=np.float64)).reshape(-1)).float()


def packed_co_occurrence(events: Events, head: Head, half_life: float) -> Tensor:
    """Σ_u packed(PK_uP / |PK_uP|): [head · (head + 1) / 2]. half_life: h, in visits; 0: infinite."""
    size, d = len(head.items), head.direction
    starts = np.arange(size) * size - np.arange(size) * (np.arange(size) + 1) // 2  # of rows, less the column
    total = torch.zeros(size * (size + 1) // 2, dtype=torch.float64)
    sums, square = np.zeros(size), 0.0  # ΣKd/f and ΣdᵀKd/f
    for block in device_blocks(events, size):
        device, item, time = distinct(block, head)
        left, right = pairs(device)
        kernel = (
            np.ones(len(left)) if half_life == 0 else np.exp2(-np.abs(time[left] - time[right]) / half_life)
        )
        beside = left != right
        towards = np.bincount(left, kernel * d[item[right]], len(item))
        towards += np.bincount(right, np.where(beside, kernel * d[item[left]], 0.0), len(item))  # Kd
        norms = np.bincount(device[left], np.where(beside, 2.0, 1.0) * kernel**2, block.num_devices)
        along = np.bincount(device, d[item] * towards, block.num_devices)  # dᵀKd
        squares = norms - 2.0 * np.bincount(device, towards**2, block.num_devices) + along**2
        sound = squares > LEAST_BESIDE * norms
        scale = np.where(sound, 1.0 / np.sqrt(np.where(sound, squares, 1.0)), 0.0)  # 1/f
        entries = kernel * scale[device[left]] * np.where(beside, 2.0**0.5, 1.0)
        places = torch.from_numpy(starts[item[left]] + item[right])
        total.index_add_(0, places, torch.from_numpy(entries))
        sums += np.bincount(item, towards * scale[device], size)
        square += float(along @ scale)
    for row in range(size):
        edge = slice(int(starts[row]) + row, int(starts[row]) + size)
        outer = square * d[row] * d[row:] - d[row] * sums[row:] - sums[row] * d[row:]
        outer[1:] *= 2.0**0.5
        total[edge] += torch.from_numpy(outer)
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


def distinct(events: Events, head: Head) -> tuple[Integers, Integers, Doubles]:
    """What devices hold of the head, by device and item: device, place in the head, visits after its last."""
    place = head.place[events.items]
    on_head = place >= 0
    device, place, time = events.devices[on_head], place[on_head], events.later_visits[on_head]
    order = np.argsort(
        device * len(head.items) + place, kind="stable"
    )  # of equal ones the last is the newest
    device, place, time = device[order], place[order], time[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (device[1:] != device[:-1]) | (place[1:] != place[:-1])
    return device[last], place[last], time[last].astype(np.float64)


def pairs(device: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """Rows left ≤ right of one device, all of them, for rows sorted by device: int64 [pairs] each."""
    ends = np.searchsorted(device, device, side="right")
    counts = ends - np.arange(len(device))
    left = np.repeat(np.arange(len(device)), counts)
    first = np.cumsum(counts) - counts
    right = left + np.arange(len(left)) - np.repeat(first, counts)
    return left, right
