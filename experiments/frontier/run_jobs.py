"""The jobs of a grid, in parallel over the cores.

A job is done when its result is on disk, so the same command again does what is left. A cell that was broken
off goes on where its run folder allows it, and starts anew where its first round was not done.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from terrycloth.experiments.frontier.cell import Job, Reference
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.runs.processes import processes
from terrycloth.experiments.runs.run_folder import NoSpace
from terrycloth.experiments.settings.config import MEASURED_ONLY
from terrycloth.models.errors import UserError

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
    with processes(workers) as pool:
        futures = {pool.submit(work, folder.path, job): job for job in jobs}
        for future in as_completed(futures):
            job, error = futures[future], future.exception()
            if isinstance(error, BrokenProcessPool):
                raise error
            if error is not None:
                bugs.append(error)
            reason = future.result() if error is None else f"a bug: {type(error).__name__}"
            if reason is not None:
                reasons[job.name] = reason
            done(job, reason)
    return ended


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
        except NoSpace:  # nothing is kept of it, so the job is done once there is some
            return f"the disk of {path} is too full: free some space, and run the same command again"
        except UserError as error:
            return str(error)
    return None


def find_reference(folder: FrontierFolder, job: Reference) -> None:
    """Popularity, and what else is asked of this reference. Raises UserError."""
    from terrycloth.experiments.runs.simulation import Reporter, compare, compare_flower, make_plan

    plan = make_plan(job.config)
    baselines = compare_flower(plan) if job.flower else compare(plan, Reporter())
    write_whole(folder.reference(job), baselines.model_dump_json(by_alias=True, indent=2), RUN_AGAIN)


def run_cell(folder: FrontierFolder, job: Job) -> None:
    """One simulated federation, from where it was broken off. Raises UserError."""
    from terrycloth.experiments.runs import simulation

    run = folder.run(job)
    needed = [run.rounds, run.config]
    if job.config.model not in MEASURED_ONLY:
        needed += [run.devices, run.checkpoint]
    if all(path.exists() for path in needed):
        simulation.resume(run.path)
        return
    shutil.rmtree(run.path, ignore_errors=True)  # before its first round was done, or what it needs is gone
    simulation.simulate(job.config, run.path)
