"""The progress display of `terry tune`: the runs that ended, their accuracy, and the time left."""

from typing import Self

from terrycloth.experiments.reports.counted_progress import CountedProgress
from terrycloth.experiments.reports.terminal import import_line
from terrycloth.experiments.runs.simulation import RunPlan
from terrycloth.experiments.tune.trial import Outcome, Run

VALIDATION = "The search tests on the validation split: the same rule, one step before the test."


class Silent:
    """A progress display that shows nothing, for --quiet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def started(self, settings: int, trials: int, seeds: int, left: int, plan: RunPlan) -> None:
        """The search starts. It has this many settings, trials and seeds per trial; `left` runs remain."""

    def confirming(self) -> None:
        """All trials have ended, and the confirmation with fresh seeds starts."""

    def done(self, run: Run, outcome: Outcome) -> None:
        """A run was measured or failed."""


class TerminalProgress(CountedProgress, Silent):
    """A progress bar with counts on a terminal; elsewhere, one line per run."""

    def __init__(self, metric: str) -> None:
        super().__init__("runs")
        self.metric = metric

    def started(self, settings: int, trials: int, seeds: int, left: int, plan: RunPlan) -> None:
        """Print the data, the size of the search and the promise."""
        self.console.print(f"{import_line(plan)} {VALIDATION}")
        size = f"{settings} settings, {trials:,} trials of {seeds} seeds"
        self.console.print(f"{size}, {left:,} runs left; {plan.promise.label}")
        self.begin(left)

    def confirming(self) -> None:
        """Print that the confirmation starts."""
        self.console.print("running the best trials and the defaults again with fresh seeds")
        self.begin_uncounted()

    def done(self, run: Run, outcome: Outcome) -> None:
        """Count the run and show its result and the estimated time left."""
        time_left = self.count()
        measured = outcome.metrics.get(self.metric)
        result = f"failed: {outcome.reason}" if measured is None else f"{self.metric} {measured:.4f}"
        state = f"trial {run.trial}, seed {run.seed}: {result}"
        self.show(state + (f", about {time_left} left" if self.left else ""))
