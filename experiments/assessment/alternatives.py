"""The recommenders that a shop could use instead: best sellers, and the best model without privacy."""

from collections.abc import Iterator
from dataclasses import dataclass

from terrycloth.experiments.assessment.period import Measured, Period
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.row import Context
from terrycloth.experiments.baselines.tuning import best_of

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
    """One alternative on both periods.

    name: its key among the baselines. label: its name for people. floor: whether it learns nothing about how
    items go together.
    """

    name: str
    label: str
    floor: bool
    earlier: Measured
    later: Measured


def alternatives(earlier: Period, later: Period) -> Iterator[Alternative]:
    """Yield each alternative that these data allow, with its settings chosen on the earlier period."""
    catalogue = later.dataset.catalogue
    for name, label in (FLOORS | STRONG).items():
        row = BASELINES[name]
        if row.left_out(later.split, catalogue) is not None:
            continue
        settings = best_of(row, earlier.split, catalogue, earlier.sample)[0] if len(row.trials) > 1 else {}
        measured = [
            period.measure(row.scorer(Context.of(period.split, catalogue), settings))
            for period in (earlier, later)
        ]
        yield Alternative(name, label, row.floor, *measured)
