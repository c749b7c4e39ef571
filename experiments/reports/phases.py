"""The phase that a command is in: a spinner, or a bar with the time left, on a terminal; lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from terrycloth.experiments.reports.counted_progress import duration

FIRST_PAUSE, LONGEST_PAUSE = 3.0, 60.0  # seconds without a line in a file or a pipe; each is twice the last


class Counted(ProgressColumn):
    """The steps done of all steps, if their number is known."""

    def render(self, task: Task) -> Text:
        """Return the column of one phase."""
        return Text("" if task.total is None else f"{int(task.completed)}/{int(task.total)}")


class Timing(ProgressColumn):
    """The estimated time left if the number of steps is known, else the time that has passed."""

    def render(self, task: Task) -> Text:
        """Return the column of one phase."""
        if task.total is None:
            return Text(duration(task.elapsed or 0.0))
        return Text("" if task.time_remaining is None else f"about {duration(task.time_remaining)} left")


class Phases:
    """Shows one phase at a time. `bar` is what a terminal draws; elsewhere, lines are printed to `console`.

    clock: returns seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), Counted(), Timing(),
            console=console, auto_refresh=False,
        )  # fmt: skip
        self.total: int | None = None
        self.line: threading.Timer | None = None

    def begin(self, what: str, total: int | None = None, *, if_long: bool = False) -> None:
        """Begin a phase, which ends the last one.

        total: the number of its steps, if it is known. if_long: print its line only if it takes long, because
        it may end with an error, which should then be the only line.
        """
        self.end()
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.task = self.bar.add_task(what, total=total)
        self.what, self.total, self.done = what, total, 0
        self.began = self.said = self.clock()
        self.pause = FIRST_PAUSE
        if self.console.is_terminal:
            return
        if if_long:
            self.line = line_after_a_pause(self.console, what)
        else:
            self.console.print(f"{what} …", soft_wrap=True)

    def end(self) -> None:
        """End the phase, and print nothing more of it."""
        if self.line is not None:
            self.line.cancel()
            self.line = None

    def step(self, done: int | None = None) -> None:
        """Count one step of the phase, or say how many are done. Prints a line now and then."""
        self.done = self.done + 1 if done is None else done
        self.bar.update(self.task, completed=self.done)
        now = self.clock()
        if self.console.is_terminal or self.total is None or now - self.said < self.pause:
            return
        left = (now - self.began) / self.done * max(0, self.total - self.done)
        self.console.print(f"{self.what}: {self.done} of {self.total}, about {duration(left)} left")
        self.quieten()

    def quieten(self) -> None:
        """Wait for the next line from now on, because one was printed."""
        self.said, self.pause = self.clock(), min(LONGEST_PAUSE, 2 * self.pause)


def line_after_a_pause(console: Console, what: str) -> threading.Timer:
    """Print the name of a phase if it is not cancelled before FIRST_PAUSE has passed."""
    line = threading.Timer(FIRST_PAUSE, console.print, [f"{what} …"], {"soft_wrap": True})
    line.daemon = True
    line.start()
    return line


@contextmanager
def phase(what: str, console: Console | None = None, *, quiet: bool = False) -> Iterator[None]:
    """Show what a block does: a spinner or, without a terminal, a line if it takes long.

    console: by default standard error, for commands whose output others read. quiet: show nothing.
    """
    if quiet:
        yield
        return
    console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        with console.status(what):
            yield
        return
    line = line_after_a_pause(console, what)
    try:
        yield
    finally:
        line.cancel()
