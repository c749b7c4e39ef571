"""Processes that work for this one: each with one thread, and ended with it, however it ends.

With one thread each, what they find does not depend on how many there are: sums of floating-point numbers do
depend on threads. Libraries read how many they may have when they are loaded, which is before any function
of ours runs in a process; so it inherits the number.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from terrycloth.models.errors import UserError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of them. What is not begun is dropped where the block fails.

    Raises UserError where one was ended from outside: what was asked of it raises BrokenProcessPool.
    """
    context = multiprocessing.get_context("spawn")
    with one_thread(), ProcessPoolExecutor(number, context, initializer=start) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(cancel_futures=True)  # the pool itself would run them all first
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a process was ended from outside, perhaps for want of memory: run the same command "
                    "again, with fewer --jobs"
                ) from None
            raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that are started in the block have one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, said in before.items():
            if said is None:
                del os.environ[name]
            else:
                os.environ[name] = said


def start() -> None:
    """In a new process: it ends with its parent, and when it is interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent's end, then end this process at once; what it was at is done by the next."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
