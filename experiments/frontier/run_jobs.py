"""Run the jobs of a grid in parallel over the cores.

A job is done when its result is on disk, so the same command does what is left. An interrupted cell resumes
if its run folder allows it; it starts again if its first round was not finished.
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

Reasons = dict[str, str]  # by the name of a failed job


class Failures(NamedTuple):
    """What went wrong in some jobs.

    reasons: why each failed job failed, by its name. bugs: errors that the user cannot repair, to be raised
    once all results are written.
    """

    reasons: Reasons
    bugs: list[BaseException]


def run_jobs(
    folder: FrontierFolder, jobs: list[Job], workers: int, done: Callable[[Job, str | None], None]
) -> Failures:
    """Run all jobs and return their failures.

    If a job fails, for instance because its promise is impossible, the others continue. `done` is called
    after each job with the reason for its failure, or None. Raises UserError if a process was ended from
    outside.
    """
    reasons, bugs = failures = Failures({}, [])
    with processes(workers) as pool:
        futures = {pool.submit(do_job, folder.path, job): job for job in jobs}
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
    return failures


def do_job(path: Path, job: Job) -> str | None:
    """Do one job in this process, unless another process has done it. Returns why it failed, or None."""
    folder = FrontierFolder(path)
    with folder.locked(job):
        if folder.finished(job):
            return None
        try:
            if isinstance(job, Reference):
                compute_reference(folder, job)
            else:
                run_cell(folder, job)
        except NoSpace:  # no part of the result is kept, so the same command does the job once there is space
            return f"the disk of {path} is too full: free some space, and run the same command again"
        except UserError as error:
            return str(error)
    return None


def compute_reference(folder: FrontierFolder, job: Reference) -> None:
    """Compute a reference and write it. Raises UserError if it cannot be computed or written."""
    from terrycloth.experiments.runs.simulation import Reporter, compare, compare_flower, make_plan

    plan = make_plan(job.config)
    baselines = compare_flower(plan) if job.flower else compare(plan, Reporter())
    write_whole(folder.reference(job), baselines.model_dump_json(by_alias=True, indent=2), RUN_AGAIN)


def run_cell(folder: FrontierFolder, job: Job) -> None:
    """Simulate one federation, from where it was interrupted. Raises UserError if it cannot be run."""
    from terrycloth.experiments.runs import simulation

    run = folder.run(job)
    needed = [run.rounds, run.config]
    if job.config.model not in MEASURED_ONLY:
        needed += [run.devices, run.checkpoint]
    if all(path.exists() for path in needed):
        simulation.resume(run.path)
        return
    shutil.rmtree(run.path, ignore_errors=True)  # its first round was not finished, or a file is gone
    simulation.simulate(job.config, run.path)
