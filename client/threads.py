"""How the devices of a cohort are shared out among threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

EVENTS_OF_A_DEVICE = 16  # that cost as much as a device which holds nothing
LEAST_EVENTS = 20_000  # of a thread that is worth waking


@contextmanager
def threads_for(offsets: np.ndarray) -> Iterator[np.ndarray]:
    """Devices [k, k + 1) of each thread, int64 [threads + 1], with as much to do for each.

    offsets: int64 [devices + 1], of their events. Where there is little to do, one thread is soonest done.
    """
    work = offsets + EVENTS_OF_A_DEVICE * np.arange(len(offsets))
    available = numba.get_num_threads()
    threads = max(1, min(available, int(work[-1]) // LEAST_EVENTS))
    edges = np.searchsorted(work, work[-1] * np.arange(threads + 1) / threads)
    edges[0], edges[-1] = 0, len(offsets) - 1
    numba.set_num_threads(threads)
    try:
        yield np.asarray(edges, dtype=np.int64)
    finally:
        numba.set_num_threads(available)
