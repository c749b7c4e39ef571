"""Worker processes with one thread each, which end when this process ends, for whatever reason.

Sums of floating-point numbers depend on the number of threads. With one thread per worker, results do not
depend on the number of workers. Libraries read the number of threads when they are loaded, which is before
any of our functions runs in a worker; so workers inherit it in their environment.
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
    """Yield a pool of `number` workers. If the block fails, tasks that have not started are dropped.

    Raises UserError if a worker was killed from outside, which shows as BrokenProcessPool in the block.
    """
    context = multiprocessing.get_context("spawn")
    with one_thread(), ProcessPoolExecutor(number, context, initializer=start) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(cancel_futures=True)  # else the pool would run all tasks first
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a worker process was killed, perhaps because memory ran out: run the same command "
                    "again with fewer --jobs"
                ) from None
            raise


@contextmanager
def one_thread() -> Iterator[None]:
    """Set the environment so that processes started in the block have one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def start() -> None:
    """Prepare a new worker: it ends on an interrupt, and when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait until the parent ends, then end this process at once; the next run repeats its task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
