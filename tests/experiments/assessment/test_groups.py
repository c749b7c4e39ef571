"""Accuracy by group is shown only for groups that are large enough, and for quarters by activity."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.assessment import groups
from terrycloth.experiments.assessment.groups import QUARTILES, activity, by_group
from terrycloth.experiments.datasets.dataset import Dataset, ImportReport
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import Holdout, Rule, Split
from terrycloth.models.catalogue import Catalogue


def test_equal_numbers_are_in_the_same_quarter() -> None:
    assert activity(np.array([1, 1, 1, 2, 3, 4, 8, 9])).tolist() == [
        *[QUARTILES[0]] * 3,
        *[QUARTILES[1]] * 1,
        *[QUARTILES[2]] * 2,
        *[QUARTILES[3]] * 2,
    ]


@pytest.fixture
def tested(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Split, Ranks]:
    """Return six shoppers with a target each, ranked 1 and 11 in turn, in groups a, a, a, a, b, unknown."""
    monkeypatch.setattr(groups, "SMALL_GROUP", 2)
    devices = np.arange(6)
    events = Events.from_columns(devices, devices, devices, np.ones(6), 6)
    targets = Targets.from_pairs(devices, devices, 6)
    split = Split(Rule("next-visit"), events, Holdout(events, targets))
    alone = torch.tensor([1.0, 11.0] * 3, dtype=torch.float64)
    ranks = Ranks(
        devices, torch.arange(6), alone, alone, torch.empty(6, 0), torch.zeros(6, dtype=torch.bool),
        torch.zeros(6, dtype=torch.bool), torch.zeros(6),
    )  # fmt: skip
    named = pd.DataFrame({"age": ["a", "a", "a", "a", "b", None]})
    return Dataset("six", catalogue, events, ImportReport("six"), groups=named), split, ranks


def test_small_groups_are_not_shown(tested: tuple[Dataset, Split, Ranks]) -> None:
    found = [(each.attribute, each.group, each.shoppers, each.found) for each in by_group(*tested)]
    assert found == [("activity", QUARTILES[0], 6, 50.0), ("age", "a", 4, 50.0)]


def test_without_named_groups_only_activity_is_shown(tested: tuple[Dataset, Split, Ranks]) -> None:
    dataset, split, ranks = tested
    assert {each.attribute for each in by_group(replace(dataset, groups=None), split, ranks)} == {"activity"}
