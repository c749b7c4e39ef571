"""Each device's items as a row over the catalogue, weighted by visits (for serving) or days (for release)."""

import numpy as np
import numpy.typing as npt
import scipy.sparse

from terrycloth.client.events import Array, Events
from terrycloth.models.times import DAY


def last_rows(events: Events, num_items: int) -> npt.NDArray[np.int64]:
    """The row of each device's last purchase of each of its items, by device, then item: int64 [pairs]."""
    pairs = events.devices * num_items + events.items
    order = np.argsort(pairs, kind="stable")  # the last of equal pairs is the newest
    newest: npt.NDArray[np.int64] = order[np.diff(pairs[order], append=-1) != 0]
    return newest


def as_matrix(events: Events, rows: Array, weights: Array, num_items: int) -> scipy.sparse.csr_matrix:
    """Place weights [rows] of some rows of events, ordered by device: sparse float32 [devices, items]."""
    counts = np.bincount(events.devices[rows], minlength=events.num_devices)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    shape = (events.num_devices, num_items)
    return scipy.sparse.csr_matrix((weights.astype(np.float32), events.items[rows], offsets), shape=shape)


def profiles(events: Events, num_items: int, half_life: float = 0.0) -> scipy.sparse.csr_matrix:
    """2^(−v/h) for an item last bought v visits before the last visit: sparse float32 [devices, items].

    half_life: h; 0 gives the weight 1 to every item that the device has, however often it was bought.
    """
    rows = last_rows(events, num_items)
    weights = np.ones(len(rows)) if half_life == 0 else np.exp2(-events.later_visits[rows] / half_life)
    return as_matrix(events, rows, weights, num_items)


def ages_weigh(times: Array, now: int, half_life: float) -> npt.NDArray[np.float64]:
    """2^(−age / half_life) of each of `times`: float64 [times]; 1 for times after `now`.

    times, now: seconds since 1970. half_life: days; 0 gives the weight 1 to all.
    """
    if half_life == 0:
        return np.ones(len(times))
    weights: npt.NDArray[np.float64] = np.exp2(-np.maximum(now - times, 0) / (half_life * DAY))
    return weights


def recency_rows(events: Events, num_items: int, now: int, half_life: float) -> scipy.sparse.csr_matrix:
    """`ages_weigh` of each device's last purchase of each item: sparse float32 [devices, items], 0 to 1."""
    rows = last_rows(events, num_items)
    return as_matrix(events, rows, ages_weigh(events.times[rows], now, half_life), num_items)


def unit_rows(rows: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Scale each row to norm 1; empty rows stay zero: sparse float32 [devices, items]."""
    norms = norms_of(rows)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return (scipy.sparse.diags(scale) @ rows).astype(np.float32).tocsr()


def clipped_rows(rows: scipy.sparse.csr_matrix, norm: float) -> scipy.sparse.csr_matrix:
    """Divide each row by max(|row|, norm), so that its norm is at most 1: sparse float32 [devices, items].

    norm: C; 0 gives `unit_rows`.
    """
    if norm == 0:
        return unit_rows(rows)
    return (scipy.sparse.diags(1.0 / np.maximum(norms_of(rows), norm)) @ rows).astype(np.float32).tocsr()


def norms_of(rows: scipy.sparse.csr_matrix) -> npt.NDArray[np.float64]:
    """|row|, summed in double precision: float64 [devices]."""
    doubles = rows.astype(np.float64)
    squares = np.asarray(doubles.multiply(doubles).sum(axis=1), dtype=np.float64).reshape(-1)
    norms: npt.NDArray[np.float64] = np.sqrt(squares)
    return norms
