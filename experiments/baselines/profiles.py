"""What a shopper has, newer purchases weighing more: the row by which most baselines serve."""

import numpy as np
import scipy.sparse

from client.events import Array, Events

HALF_LIFE = "half-life"  # of a purchase at serving, in visits; 0: all purchases weigh the same


def last_rows(events: Events, num_items: int) -> Array:
    """The row of each device's last purchase of each item it has, by device, then item: int64 [pairs]."""
    pairs = events.devices * num_items + events.items
    order = np.argsort(pairs, kind="stable")  # of equal ones the last is the newest
    last = np.diff(pairs[order], append=-1) != 0
    newest: Array = order[last]
    return newest


def profiles(events: Events, num_items: int, half_life: float = 0.0) -> scipy.sparse.csr_matrix:
    """2^(−v/h) for an item last bought v visits before the device's last: sparse float32 [devices, items].

    half_life: h; 0: 1 for every item that the device has, however often it was bought.
    """
    rows = last_rows(events, num_items)
    weights = np.ones(len(rows)) if half_life == 0 else np.exp2(-events.later_visits[rows] / half_life)
    return as_matrix(events, rows, weights, num_items)


def as_matrix(events: Events, rows: Array, weights: Array, num_items: int) -> scipy.sparse.csr_matrix:
    """Weights [rows] of some rows of events, ordered by device: sparse float32 [devices, items]."""
    counts = np.bincount(events.devices[rows], minlength=events.num_devices)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    shape = (events.num_devices, num_items)
    return scipy.sparse.csr_matrix((weights.astype(np.float32), events.items[rows], offsets), shape=shape)
