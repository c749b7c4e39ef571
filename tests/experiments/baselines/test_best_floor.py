"""The floors of a run; under a promise, only those that keep a promise at least as strong."""

import pytest

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.baselines.floors import (
    ALONE,
    FLOORS,
    PRIVATE,
    STRONG,
    best_floor,
    floors_of,
    is_floor,
)

LEVELS = {
    "popularity": 0.3, "recent_popularity": 0.4, "nothing_released": 0.1, "private_popularity": 0.2,
    "private_recent_popularity": 0.15, "ease": 0.9, "central": 0.9,
}  # fmt: skip


def test_every_baseline_is_a_floor_or_strong() -> None:
    assert sorted((*FLOORS, *STRONG)) == sorted(BASELINES)
    assert set(ALONE) < set(FLOORS)
    assert all(is_floor(name) and label_of(name) for name in (*FLOORS, *PRIVATE))
    assert not any(is_floor(name) for name in STRONG)


def test_a_baseline_on_pooled_data_is_no_floor_under_a_promise() -> None:
    assert set(floors_of(private=True)) == {*ALONE, *PRIVATE}
    assert set(floors_of(private=False)) == set(FLOORS)


@pytest.mark.parametrize(
    ("changes", "private", "best"),
    [
        ({}, False, ("recent_popularity", 0.4)),
        ({"own_frequency": 0.5}, False, ("own_frequency", 0.5)),
        ({}, True, ("private_popularity", 0.2)),
        ({"private_popularity": None}, True, ("private_recent_popularity", 0.15)),
        ({"nothing_released": 0.25}, True, ("nothing_released", 0.25)),
        # It adds what all shoppers bought, which no promise covers; nothing released puts own items first.
        ({"own_frequency": 0.5}, True, ("private_popularity", 0.2)),
    ],
    ids=str,
)
def test_the_best_floor(changes: dict[str, float | None], private: bool, best: tuple[str, float]) -> None:
    assert best_floor(LEVELS | changes, private) == best


def test_there_is_no_best_floor_if_none_was_measured() -> None:
    assert best_floor({"ease": 0.9, "popularity": None}, False) is None
    assert best_floor({"popularity": 0.3}, True) is None
