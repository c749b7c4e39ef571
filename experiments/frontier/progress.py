"""The progress that `terry frontier` shows: jobs done, running and failed, and the time left."""

from typing import Self

from terrycloth.experiments.frontier.cell import Job, Reference
from terrycloth.experiments.reports.counted_progress import CountedProgress


class SilentProgress:
    """Progress that prints nothing, for --quiet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: there is nothing to clean up."""

    def started(self, cells: int, jobs: int, workers: int) -> None:
        """Report the start: the number of cells in the grid, of jobs left to do and of processes at once."""

    def done(self, job: Job, reason: str | None) -> None:
        """Report the end of one job; reason says why it failed, None if it succeeded."""

    def doing(self, what: str) -> None:
        """Report what is done once all jobs have ended."""


class TerminalProgress(CountedProgress, SilentProgress):
    """A progress bar with counts; without a terminal, one line per job."""

    def __init__(self) -> None:
        super().__init__("jobs")
        self.failed = 0

    def started(self, cells: int, jobs: int, workers: int) -> None:
        """Print how much there is to do, and start the bar."""
        self.workers = workers
        self.console.print(f"{cells:,} cells; {jobs:,} jobs to do, including references, {workers} at once")
        self.begin(jobs, f"{min(workers, jobs)} running")

    def done(self, job: Job, reason: str | None) -> None:
        """Count the job, and print why it failed if it did."""
        self.failed += reason is not None
        time_left = self.count()
        state = f"{min(self.workers, self.left)} running, {self.failed} failed, about {time_left} left"
        if reason is not None:
            self.console.print(f"failed: {job.name}: {reason}", soft_wrap=True)
        what = "reference" if isinstance(job, Reference) else "cell"
        self.show(state, f"{self.ended} of {self.total} done, {state}: {what} {job.name}")

    def doing(self, what: str) -> None:
        """Name what is done now, without a count."""
        self.bar.reset(self.task, total=None, description=what)
        if not self.console.is_terminal:
            self.console.print(f"{what} …")
