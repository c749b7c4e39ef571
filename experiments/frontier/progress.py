"""What `terry frontier` shows while it runs: jobs done, running and failed, and the time left."""

import time
from typing import Self

from terrycloth.experiments.frontier.cell import Job, Reference
from terrycloth.experiments.reports.console import make_bar, make_console


class Silent:
    """Says nothing: --quiet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to clean up."""

    def started(self, cells: int, jobs: int, workers: int) -> None:
        """So many cells in the grid, of which so many jobs are left to do."""

    def done(self, job: Job, reason: str | None) -> None:
        """One job ended; the reason where it failed."""


class TerminalProgress(Silent):
    """A bar with its counts; where there is no terminal, a line a job."""

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
        """Print what is to do."""
        self.jobs, self.workers, self.since = jobs, workers, time.monotonic()
        self.console.print(f"{cells:,} cells; {jobs:,} jobs to do, references included, {workers} at once")
        self.task = self.bar.add_task(f"{min(workers, jobs)} running", total=jobs)

    def done(self, job: Job, reason: str | None) -> None:
        """Count the job, and print why it failed."""
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
    """Seconds below two minutes, else minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
