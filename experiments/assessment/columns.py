"""What each column of a shop's data adds to accuracy: the model is trained again without it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from terrycloth.client.events import Events
from terrycloth.experiments.assessment.period import Measured, Period
from terrycloth.experiments.evaluation.bootstrap import Difference, paired_bootstrap
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import Catalogue

TIMELESS = {"kernel_half_life": 0.0, "recency_half_life": 0.0, "popularity_half_life": 0.0}


@dataclass(frozen=True)
class WithoutColumn:
    """The model without one column. change: in shoppers of 100 who find something, with its interval."""

    column: str
    change: Difference

    @property
    def needed(self) -> bool:
        """Whether leaving the column out loses more than chance explains."""
        return self.change.high < 0


def leave_out(
    period: Period, config: RunConfig, measure: Callable[[Period, RunConfig], Measured]
) -> Iterator[WithoutColumn]:
    """Yield what the model loses without each column, paired by shopper, on one period.

    The shopper, the item and the date that divides training from test cannot be left out.
    measure: trains the model with other settings and measures it.
    """
    whole = measure(period, config)
    for column, (changed, settings) in variants(period, config).items():
        change = paired_bootstrap(100.0 * (measure(changed, settings).found - whole.found))
        yield WithoutColumn(column, change)


def variants(period: Period, config: RunConfig) -> dict[str, tuple[Period, RunConfig]]:
    """Return, by the name of a column, the period and the settings without it."""
    found: dict[str, tuple[Period, RunConfig]] = {}
    if period.split.rule.timed:
        found["order of visits in time"] = (period, config.model_copy(update=TIMELESS))
    if len(np.unique(period.split.train.weights)) > 1:
        found["quantity"] = (with_events(period, unweighted), config)
    found["words of titles"] = (period, config.model_copy(update={"title_words": False}))
    for name in period.dataset.catalogue.attributes:
        catalogue = Catalogue(period.dataset.catalogue.table.drop(columns=name))
        found[name] = (replace(period, dataset=replace(period.dataset, catalogue=catalogue)), config)
    return found


def with_events(period: Period, change: Callable[[Events], Events]) -> Period:
    """Return a period whose training events and histories are changed; its targets stay the same."""
    test = replace(period.split.test, history=change(period.split.test.history))
    return replace(period, split=replace(period.split, train=change(period.split.train), test=test))


def unweighted(events: Events) -> Events:
    """Return the events with a weight of 1 each."""
    return replace(events, weights=np.ones_like(events.weights))
