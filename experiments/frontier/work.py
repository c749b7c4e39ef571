"""The jobs of a grid, in parallel over the cores, each process with one thread.

So the table does not depend on how many run at once: sums of floating-point numbers do depend on threads.

A job is done when its result is on disk, so the same command again does what is left. A cell that was broken
off goes on where its run folder allows it, and starts anew where its first round was not done.

Nothing here imports numpy or torch before `start_worker` has said that they may have one thread.
"""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from experiments.frontier.cell import Job, Reference
from experiments.frontier.folder import FrontierFolder
from models.errors import UserError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Reasons = dict[str, str]  # by a failed job's name


class Ended(NamedTuple):
    """reasons: of the jobs that failed. bugs: what the user cannot mend, to be raised once all is written."""

    reasons: Reasons
    bugs: list[BaseException]


def run_jobs(
    folder: FrontierFolder, jobs: list[Job], workers: int, done: Callable[[Job, str | None], None]
) -> Ended:
    """Run all jobs; `done` hears of each, with the reason where it failed. Raises UserError.

    A job that fails, for instance for an impossible promise, has its reason, and the rest goes on.
    """
    reasons, bugs = ended = Ended({}, [])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=start_worker) as pool:
        futures = {pool.submit(work, folder.path, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                job, error = futures[future], future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise UserError(
                        "a process was ended from outside, perhaps for want of memory: run the same command "
                        "again, with fewer --jobs"
                    )
                if error is not None:
                    bugs.append(error)
                reason = future.result() if error is None else f"a bug: {type(error).__name__}"
                if reason is not None:
                    reasons[job.name] = reason
                done(job, reason)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return ended


def start_worker() -> None:
    """Set a new process up: one thread, and that it ends with its parent, however that ends."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the parent's end, then end this process at once; what it was at is done by the next."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(path: Path, job: Job) -> str | None:
    """Do one job in this process, unless another did it meanwhile. Returns the reason where it failed."""
    folder = FrontierFolder(path)
    with folder.held(job):
        if folder.finished(job):
            return None
        try:
            if isinstance(job, Reference):
                find_reference(folder, job)
            else:
                run_cell(folder, job)
        except UserError as error:
            return str(error)
    return None


def find_reference(folder: FrontierFolder, job: Reference) -> None:
    """Popularity, and what else is asked of this reference. Raises UserError."""
    from experiments.simulation import Reporter, compare, compare_flower, make_plan

    plan = make_plan(job.config)
    baselines = compare_flower(plan) if job.flower else compare(plan, Reporter())
    folder.replace(folder.reference(job), baselines.model_dump_json(by_alias=True, indent=2).encode())


def run_cell(folder: FrontierFolder, job: Job) -> None:
    """One simulated federation, from where it was broken off. Raises UserError."""
    from experiments import simulation

    run = folder.run(job)
    if run.rounds.exists():
        simulation.resume(run.path)
        return
    shutil.rmtree(run.path, ignore_errors=True)  # broken off before anything was learned
    simulation.simulate(job.config, run.path)
