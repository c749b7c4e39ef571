"""A period of a shop's data: what trains, and what is bought after it, which measures every recommender.

An assessment has two periods. Every choice is made on the earlier one, which ends before the date at which
the test begins; the later one only measures what was chosen.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.evaluate import DeviceScorer, Scorer, by_history, rank_targets
from terrycloth.experiments.evaluation.metric_table import METRICS
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Split, make_split, one_step_earlier
from terrycloth.experiments.runs.simulation import rule_of
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError

HIT = "anyhit@10"  # the metric that an assessment counts: does a shopper find anything among the ten?
LEAST_TESTED = 20  # shoppers; a share of fewer says nothing, and could point at a person

PerShopper = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """How one recommender did on one period.

    found: float64 [tested], 1 where a shopper found anything among the ten, or the mean of that over seeds.
    shares: float64 [tested], the share of the shopper's targets among the ten (HR@10).
    """

    found: PerShopper
    shares: PerShopper

    @property
    def per_100(self) -> float:
        """How many of 100 shoppers find something among the ten."""
        return 100.0 * float(self.found.mean())

    @property
    def of_100(self) -> str:
        """The same in words, as in 18.2 of 100."""
        return f"{self.per_100:.1f} of 100"

    @property
    def hit_rate(self) -> float:
        """HR@10."""
        return float(self.shares.mean())

    @classmethod
    def of(cls, ranks: Ranks) -> "Measured":
        """Return the measurement of a recommender by the ranks that it gave to the targets."""
        found, shares = (METRICS[name].by_shopper(ranks).numpy() for name in (HIT, "hr@10"))
        return cls(found, shares)

    @classmethod
    def mean(cls, several: list["Measured"]) -> "Measured":
        """Return the mean over several seeds, shopper by shopper."""
        found, shares = ([getattr(each, name) for each in several] for name in ("found", "shares"))
        return cls(np.mean(found, axis=0), np.mean(shares, axis=0))


@dataclass(frozen=True)
class Period:
    """Purchases that train, and those after them that test, of the same shoppers over one catalogue.

    sample: the number of shoppers to measure at most; 0: all.
    """

    dataset: Dataset
    split: Split
    sample: int = 0

    @property
    def num_items(self) -> int:
        """The number of items in the catalogue."""
        return len(self.dataset.catalogue)

    @property
    def tested(self) -> int:
        """The number of shoppers on whom recommenders are measured."""
        return len(self.split.test.tested(self.sample))

    def measure(self, scorer: Scorer) -> Measured:
        """Measure a recommender that needs only a shopper's history."""
        return self.measure_devices(by_history(scorer, self.split.test))

    def measure_devices(self, scorer: DeviceScorer) -> Measured:
        """Measure a recommender that is given the numbers of devices."""
        return Measured.of(rank_targets(scorer, self.split, self.num_items, sample=self.sample))


def periods(config: RunConfig, dataset: Dataset) -> tuple[Period, Period]:
    """Return the earlier period, on which choices are made, and the later one, which measures them.

    Raises UserError if the data have no times, or leave too few shoppers to test in either.
    """
    test = make_split(dataset, rule_of(config, dataset), config.data_seed, config.evaluate_sample)
    earlier = Period(*one_step_earlier(dataset, test, config.data_seed), config.evaluate_sample)
    later = Period(replace(dataset, published=None), test, config.evaluate_sample)
    for period, when in ((later, "after"), (earlier, "in the period before")):
        if period.tested < LEAST_TESTED:
            raise UserError(
                f"only {period.tested} shoppers bought something new {when} {test.rule.date}, and fewer than "
                f"{LEAST_TESTED} say nothing: use more orders, or another --at"
            )
    return earlier, later
