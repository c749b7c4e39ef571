"""Accuracy by group of shoppers, for those groups that are large enough to say nothing about one person."""

from dataclasses import dataclass

import numpy as np

from terrycloth.client.events import Array
from terrycloth.experiments.assessment.identifying import SMALL_GROUP
from terrycloth.experiments.assessment.period import HIT
from terrycloth.experiments.datasets.dataset import Dataset
from terrycloth.experiments.evaluation.metric_table import METRICS, standard_error
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Split

QUARTILES = ("fewest purchases", "second quarter", "third quarter", "most purchases")


@dataclass(frozen=True)
class GroupAccuracy:
    """The accuracy of one group. found: how many of 100 find something. error: its standard error."""

    attribute: str
    group: str
    shoppers: int
    found: float
    error: float


def by_group(dataset: Dataset, split: Split, ranks: Ranks) -> list[GroupAccuracy]:
    """Return the accuracy of each group with at least SMALL_GROUP tested shoppers.

    The groups are quarters of the tested shoppers by their number of training purchases, and the groups that
    the data set names, on which nothing trains.
    """
    columns: dict[str, Array] = {"activity": activity(split.train.counts[ranks.devices])}
    if dataset.groups is not None:
        columns |= {
            str(name): dataset.groups[name].astype("string").fillna("not known").to_numpy()[ranks.devices]
            for name in dataset.groups
        }
    found = METRICS[HIT].by_shopper(ranks)
    rows = []
    for attribute, groups in columns.items():
        for group in dict.fromkeys(sorted(groups.tolist(), key=order)):
            values = found[np.flatnonzero(groups == group)]
            if len(values) >= SMALL_GROUP:
                mean, error = 100.0 * float(values.mean()), 100.0 * standard_error(values)
                rows.append(GroupAccuracy(attribute, str(group), len(values), mean, error))
    return rows


def activity(purchases: Array) -> Array:
    """Return the quarter of each shopper by number of purchases; equal numbers are in the same quarter."""
    bounds = np.quantile(purchases, [0.25, 0.5, 0.75]) if len(purchases) else np.zeros(3)
    return np.array(QUARTILES, dtype=object)[np.searchsorted(bounds, purchases, side="left")]


def order(group: str) -> tuple[int, str]:
    """Return the place of a group within its attribute."""
    return (QUARTILES.index(group) if group in QUARTILES else len(QUARTILES), group)
