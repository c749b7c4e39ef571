"""Every metric of accuracy: its name, its label, its description, and how it is computed from the ranks.

Results, tables, pages, figures and comparisons all read these rows, so a metric is added only here, or by
another package under the entry points `terrycloth.metrics`. For all
metrics higher is better, except novelty, for which neither direction is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.models.metrics import gains

ENTRY_POINTS = "terrycloth.metrics"  # the group in which packages name their metrics

PerShopper = Callable[[Ranks], Tensor]


@dataclass(frozen=True)
class Metric:
    """One metric, whose value is the mean over the tested shoppers.

    label: its name in print. about: its description, for the heading of a column. by_shopper: computes its
    values in the whole-catalogue ranking, float64 [tested]. by_shopper_sampled: the same among 99 sampled
    negatives; None if it is not measured there. on_page: whether a page's table shows it.
    """

    label: str
    about: str
    by_shopper: PerShopper
    by_shopper_sampled: PerShopper | None = None
    on_page: bool = True

    def of(self, ranks: Ranks) -> float:
        """Its value in the whole-catalogue ranking; NaN if no shopper is tested."""
        return float(self.by_shopper(ranks).mean())


METRICS = {
    "hr@10": Metric(
        "HR@10",
        "the share of a shopper's targets among the first ten, each ranked alone",
        lambda ranks: ranks.by_shopper(ranks.alone <= 10),
        lambda ranks: ranks.by_shopper(ranks.sampled <= 10),
    ),
    "ndcg@10": Metric(
        "NDCG@10",
        "the targets among the first ten, counted more the higher they rank, each ranked alone",
        lambda ranks: ranks.by_shopper(gains(ranks.alone, 10)),
        lambda ranks: ranks.by_shopper(gains(ranks.sampled, 10)),
    ),
    "mrr": Metric(
        "MRR",
        "the mean reciprocal rank of a shopper's targets, each ranked alone",
        lambda ranks: ranks.by_shopper(1.0 / ranks.alone),
    ),
    "anyhit@10": Metric(
        "any hit in 10",
        "the share of shoppers with any target among the first ten, each ranked alone",
        lambda ranks: (ranks.by_shopper(ranks.alone <= 10) > 0).double(),
    ),
    "recall@10": Metric(
        "recall@10",
        "the number of a shopper's targets in one list of ten, over as many as fit",
        lambda ranks: ranks.listed(10) / ranks.counts.clamp(max=10),
        on_page=False,
    ),
    "recall@20": Metric(
        "recall@20",
        "the number of a shopper's targets in one list of twenty, over as many as fit",
        lambda ranks: ranks.listed(20) / ranks.counts.clamp(max=20),
    ),
    "precision@10": Metric(
        "precision@10",
        "the share of one list of ten that are the shopper's targets",
        lambda ranks: ranks.listed(10) / 10,
        on_page=False,
    ),
    "map@10": Metric(
        "MAP@10",
        "the mean average precision of one list of ten, over as many targets as fit",
        lambda ranks: ranks.average_precision(10),
    ),
    "novelty@10": Metric(
        "novelty@10",
        "the mean of −log₂ of the popularity of the first ten items",
        lambda ranks: ranks.novelty,
        on_page=False,
    ),
}
SAMPLED_METRICS = {
    name: metric.by_shopper_sampled
    for name, metric in METRICS.items()
    if metric.by_shopper_sampled is not None
}

# The name of the standard error of HR@10.
ERROR = "hr@10_error"


@dataclass(frozen=True)
class Summary:
    """A statistic of all ranks together. of: computes its value; None if it does not apply to the ranks."""

    about: str
    of: Callable[[Ranks], float | None]


def standard_error(values: Tensor) -> float:
    """The standard error of the mean over shoppers of values [tested]; NaN for fewer than two shoppers."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")


def hit_rate_of(repeated: bool) -> Callable[[Ranks], float | None]:
    """HR@10 of the targets that were bought before (`repeated`) or of the others; None if no target was."""

    def hit_rate(ranks: Ranks) -> float | None:
        if not bool(ranks.repeated.any()):
            return None
        return float(ranks.only(ranks.repeated if repeated else ~ranks.repeated).mean())

    return hit_rate


SUMMARIES = {
    ERROR: Summary(
        "the standard error of hr@10 over the tested shoppers",
        lambda ranks: standard_error(METRICS["hr@10"].by_shopper(ranks)),
    ),
    "coverage@10": Summary(
        "the share of the catalogue that is in any tested shopper's first ten",
        lambda ranks: float(ranks.shown.double().mean()),
    ),
    "new_hr@10": Summary(
        "if repeats count: hr@10 of what the shopper had not bought before", hit_rate_of(repeated=False)
    ),
    "repeated_hr@10": Summary(
        "if repeats count: hr@10 of what the shopper had bought before", hit_rate_of(repeated=True)
    ),
}

# The descriptions of what is measured in the whole-catalogue ranking, in the order of a table's columns.
ABOUT_FULL = {
    "hr@10": f"HR@10, whole catalogue: {METRICS['hr@10'].about}",
    ERROR: SUMMARIES[ERROR].about,
    **{name: f"{metric.label}, whole catalogue: {metric.about}" for name, metric in METRICS.items()},
    **{name: summary.about for name, summary in SUMMARIES.items()},
}


def add_metric(name: str, metric: object) -> None:
    """Add a metric of another package to the table. Raises ValueError if it is none, or the name is taken."""
    if not isinstance(metric, Metric):
        raise ValueError(f"the metric {name} is not a {Metric.__module__}.Metric")
    if METRICS.get(name, metric) is not metric:
        raise ValueError(f"the name {name} belongs to another metric: use another label")
    METRICS[name] = metric
    ABOUT_FULL[name] = f"{metric.label}, whole catalogue: {metric.about}"
    if metric.by_shopper_sampled is not None:
        SAMPLED_METRICS[name] = metric.by_shopper_sampled


def measured(ranks: Ranks) -> dict[str, dict[str, float]]:
    """Every metric and summary of the ranks: "full" over the whole catalogue, "sampled99" among negatives."""
    full = {name: metric.of(ranks) for name, metric in METRICS.items()}
    summaries = {name: summary.of(ranks) for name, summary in SUMMARIES.items()}
    full |= {name: value for name, value in summaries.items() if value is not None}
    return {
        "full": full,
        "sampled99": {name: float(by_shopper(ranks).mean()) for name, by_shopper in SAMPLED_METRICS.items()},
    }
