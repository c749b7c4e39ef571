"""Progress through a known number of tasks: a bar on a terminal, and one line per task elsewhere."""

import time
from typing import Self

from terrycloth.experiments.reports.console import make_bar, make_console


class CountedProgress:
    """Counts tasks as they end, estimates the time left, and shows both.

    counted: what a task is called beside the bar, in the plural.
    """

    def __init__(self, counted: str) -> None:
        self.console = make_console()
        self.bar = make_bar(counted, self.console)
        self.total = self.ended = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def begin(self, total: int, state: str = "") -> None:
        """Start the clock and the bar for this many tasks."""
        self.total, self.since = total, time.monotonic()
        self.task = self.bar.add_task(state, total=total)

    def begin_uncounted(self) -> None:
        """Start the bar again, for more tasks whose number is not known."""
        self.bar.reset(self.task, total=None)

    def count(self) -> str:
        """Count one task that ended, and return the estimated time that the others take."""
        self.ended += 1
        return duration((time.monotonic() - self.since) / self.ended * self.left)

    @property
    def left(self) -> int:
        """How many of the tasks have not ended."""
        return max(0, self.total - self.ended)

    def show(self, state: str, line: str | None = None) -> None:
        """Move the bar on and write `state` beside it. Elsewhere print a line, by default the same text."""
        self.bar.update(self.task, advance=1, description=state)
        if not self.console.is_terminal:
            self.console.print(state if line is None else line)


def duration(seconds: float) -> str:
    """Format a duration: in seconds below two minutes, else in minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
