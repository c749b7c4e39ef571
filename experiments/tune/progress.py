"""What `terry tune` shows while it runs: runs done, the best so far, and the time left."""

import time
from typing import Self

from terrycloth.experiments.frontier.progress import duration
from terrycloth.experiments.reports.console import make_bar, make_console
from terrycloth.experiments.reports.terminal import import_line
from terrycloth.experiments.runs.simulation import RunPlan
from terrycloth.experiments.tune.trial import Outcome, Run


class Silent:
    """Says nothing: --quiet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to clean up."""

    def started(self, settings: int, trials: int, seeds: int, left: int, plan: RunPlan) -> None:
        """So many settings are searched by so many trials, each over so many seeds; so many runs are left."""

    def confirming(self) -> None:
        """The trials are done."""

    def done(self, run: Run, outcome: Outcome) -> None:
        """One run was measured, or failed."""


class TerminalProgress(Silent):
    """A bar with its counts; where there is no terminal, a line a run."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.console = make_console()
        self.bar = make_bar("runs", self.console)
        self.ended = 0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def started(self, settings: int, trials: int, seeds: int, left: int, plan: RunPlan) -> None:
        """Print what is to do."""
        self.left, self.since = left, time.monotonic()
        self.console.print(import_line(plan).replace("held out", "held out for validation"))
        searched = f"{settings} settings, {trials:,} trials of {seeds} seeds"
        self.console.print(f"{searched}, {left:,} runs to do; {plan.promise.label}")
        self.task = self.bar.add_task("", total=left)

    def confirming(self) -> None:
        """Say so."""
        self.console.print("the best few and the defaults, by fresh seeds")
        self.bar.reset(self.task, total=None)

    def done(self, run: Run, outcome: Outcome) -> None:
        """Count the run."""
        self.ended += 1
        seconds = (time.monotonic() - self.since) / self.ended * max(0, self.left - self.ended)
        measured = outcome.metrics.get(self.metric)
        said = f"failed: {outcome.reason}" if measured is None else f"{self.metric} {measured:.4f}"
        state = f"trial {run.trial}, seed {run.seed}: {said}"
        left = f", about {duration(seconds)} left" if self.ended < self.left else ""
        self.bar.update(self.task, advance=1, description=state + left)
        if not self.console.is_terminal:
            self.console.print(state + left)
