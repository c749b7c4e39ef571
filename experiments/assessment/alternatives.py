"""The recommenders that a shop could use instead: best sellers, and the best model without privacy."""

from collections.abc import Callable
from dataclasses import dataclass

from terrycloth.experiments.assessment.period import Measured, Period
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.row import Context
from terrycloth.experiments.baselines.tuning import tuned_baselines

# In the words of the people whom an assessment is for.
FLOORS = {
    "popularity": "best sellers",
    "recent_popularity": "recent best sellers",
    "own_frequency": "what each shopper buys most often",
    "nothing_released": "items like those each shopper bought",
}
STRONG = {"ease": "EASE"}  # the strongest in closed form: its tuning takes seconds where others take minutes


@dataclass(frozen=True)
class Alternative:
    """One alternative.

    name: its key among the baselines. label: its name for people. later: its measurement on the later period.
    earlier: the same on the earlier period, if it learns how items go together; None for a floor, with which
    nothing is chosen.
    """

    name: str
    label: str
    later: Measured
    earlier: Measured | None

    @property
    def floor(self) -> bool:
        """Whether it learns nothing about how items go together."""
        return self.earlier is None


def trials(later: Period) -> int:
    """Return how many settings are tried for the alternatives that these data allow."""
    rows = [BASELINES[name] for name in FLOORS | STRONG]
    allowed = [row for row in rows if row.left_out(later.split, later.dataset.catalogue) is None]
    return sum(len(row.trials) for row in allowed if len(row.trials) > 1)


def alternatives(
    earlier: Period, later: Period, step: Callable[[], None]
) -> tuple[list[Alternative], list[str]]:
    """Return the alternatives, with settings chosen on the earlier period, and why others are left out.

    step: called after each of the `trials`.
    """
    catalogue = later.dataset.catalogue
    names = FLOORS | STRONG
    tuned, left_out = tuned_baselines(
        later.split, earlier.split, catalogue, list(names), sample=later.sample, step=step
    )

    def measured_earlier(name: str) -> Measured | None:
        row = BASELINES[name]
        if row.floor:
            return None
        return earlier.measure(row.scorer(Context.of(earlier.split, catalogue), tuned[name].settings))

    found = [
        Alternative(name, names[name], Measured.of(ranks), measured_earlier(name))
        for name, (ranks, _) in tuned.items()
    ]
    return found, left_out
