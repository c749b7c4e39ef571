"""The progress that `terry frontier` shows: jobs done, running and failed, and the time left."""

import time
from typing import Self

from terrycloth.experiments.frontier.cell import Job, Reference
from terrycloth.experiments.reports.console import make_bar, make_console


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


class TerminalProgress(SilentProgress):
    """A progress bar with counts; without a terminal, one line per job."""

    def __init__(self) -> None:
        self.console = make_console()
        self.bar = make_bar("jobs", self.console)
        self.ended = self.failed = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def started(self, cells: int, jobs: int, workers: int) -> None:
        """Print how much there is to do, and start the bar."""
        self.jobs, self.workers, self.since = jobs, workers, time.monotonic()
        self.console.print(f"{cells:,} cells; {jobs:,} jobs to do, including references, {workers} at once")
        self.task = self.bar.add_task(f"{min(workers, jobs)} running", total=jobs)

    def done(self, job: Job, reason: str | None) -> None:
        """Count the job, and print why it failed if it did."""
        self.ended += 1
        self.failed += reason is not None
        left = self.jobs - self.ended
        seconds = (time.monotonic() - self.since) / self.ended * left
        state = f"{min(self.workers, left)} running, {self.failed} failed, about {duration(seconds)} left"
        self.bar.update(self.task, completed=self.ended, description=state)
        if reason is not None:
            self.console.print(f"failed: {job.name}: {reason}", soft_wrap=True)
        if not self.console.is_terminal:
            what = "reference" if isinstance(job, Reference) else "cell"
            self.console.print(f"{self.ended} of {self.jobs} done, {state}: {what} {job.name}")


def duration(seconds: float) -> str:
    """Format a duration: in seconds below two minutes, else in minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
