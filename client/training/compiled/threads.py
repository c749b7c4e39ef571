"""How the devices of a cohort are divided among threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

EVENTS_OF_A_DEVICE = 16  # a device without events costs as much as this many events
LEAST_DEVICES = 128  # smallest number of devices for which another thread pays off
# Unused numbers at the end of each thread's short arrays. Without them, two threads write to the same cache
# line, which moves back and forth between their cores. With vectors of 8 numbers, a round took a sixth
# longer.
APART = 32


@contextmanager
def threads_for(offsets: np.ndarray, least: int | None = None) -> Iterator[np.ndarray]:
    """Divide devices into ranges of equal cost, one per thread; set numba's number of threads for the block.

    Gives edges, int64 [threads + 1]: thread k has devices edges[k] … edges[k + 1] − 1. offsets: int64
    [devices + 1], of the devices' events. least: smallest number of devices per thread, by default
    LEAST_DEVICES. The number of threads, and so their memory, does not depend on what the devices hold.
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
