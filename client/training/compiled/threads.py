"""How the devices of a cohort are shared out among threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

EVENTS_OF_A_DEVICE = 16  # that cost as much as a device which holds nothing
LEAST_DEVICES = 128  # of a thread that is worth waking
# Unused numbers at the end of each thread's short arrays. Without them two threads write to one line of the
# cache, which goes to and fro between their cores: with vectors of 8 numbers a round took a sixth longer.
APART = 32


@contextmanager
def threads_for(offsets: np.ndarray, least: int | None = None) -> Iterator[np.ndarray]:
    """Devices [k, k + 1) of each thread, int64 [threads + 1], with as much to do for each.

    offsets: int64 [devices + 1], of their events. least: devices of a thread that is worth waking. How many
    threads there are, and so how much memory they take, does not depend on what the devices hold.
    """
    work = offsets + EVENTS_OF_A_DEVICE * np.arange(len(offsets))
    available = numba.get_num_threads()
    threads = max(1, min(available, (len(offsets) - 1) // (least or LEAST_DEVICES)))
    edges = np.searchsorted(work, work[-1] * np.arange(threads + 1) / threads)
    edges[0], edges[-1] = 0, len(offsets) - 1
    numba.set_num_threads(threads)
    try:
        yield np.asarray(edges, dtype=np.int64)
    finally:
        numba.set_num_threads(available)
