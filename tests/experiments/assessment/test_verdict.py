"""The verdict follows from the figures, paired by shopper and compared with every floor."""

import numpy as np
import pytest

from terrycloth.experiments.assessment.period import Measured
from terrycloth.experiments.assessment.verdict import Answer, Verdict, difference, verdict

SHOPPERS = 1_000


def measured(per_100: float) -> Measured:
    """Return measurements in which the first shoppers find something, so that differences have one sign."""
    found = (np.arange(SHOPPERS) < per_100 * SHOPPERS / 100).astype(np.float64)
    return Measured(found, found / 2)


def answer(
    unprotected: float, private: float, near: bool = False, with_more: tuple[float, ...] = ()
) -> Verdict:
    floors = {"best sellers": measured(10), "recent best sellers": measured(12)}
    more = {10 ** (1 + place): measured(figure) for place, figure in enumerate(with_more)}
    return verdict(floors, measured(unprotected), measured(private), near, "ε = 2", more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (answer(20, 20, near=True), Answer.YES),
        (answer(20, 15), Answer.AT_A_COST),
        (answer(20, 12, with_more=(12, 18)), Answer.WITH_MORE_SHOPPERS),
        (answer(20, 11, with_more=(12, 12)), Answer.NO),
        (answer(12.1, 12.1, near=True), Answer.NOT_PERSONAL),
        (answer(11, 15), Answer.NOT_PERSONAL),  # only by chance is the private model above the other
    ],
)
def test_every_verdict(found: Verdict, expected: Answer) -> None:
    assert found.answer is expected


def test_the_sentence_has_the_figures_and_the_strongest_floor() -> None:
    assert answer(20, 15).sentence == (
        "Yes, at a cost: under ε = 2, 15.0 of 100 shoppers find something among ten, against 12.0 with "
        "recent best sellers; without privacy it would be 20.0."
    )
    assert (
        "With 100 times as many like these it would be 18.0." in answer(20, 12, with_more=(12, 18)).sentence
    )


def test_being_above_one_floor_is_not_enough() -> None:
    assert answer(20, 11).answer is Answer.NO


def test_the_count_by_purchases_is_stated_only_if_it_contradicts_the_verdict() -> None:
    # As many shoppers, but more of what each buys.
    many = Measured(measured(12).found, measured(12).found * 0.9)
    floors = {"best sellers": Measured(measured(12).found, measured(12).found * 0.5)}
    found = verdict(floors, measured(20), many, False, "ε = 2", {})
    assert found.answer is Answer.NO
    assert found.sentence.endswith("it lists 10.8% of what a shopper then buys, and best sellers 6.0%.")
    assert "Counted by purchases" not in answer(20, 15).sentence


def test_a_difference_is_paired_and_in_shoppers_of_100() -> None:
    found = difference(measured(15), measured(12))
    assert found.mean == pytest.approx(3.0)
    assert 0 < found.low < 3.0 < found.high
    # Unpaired, it would be about three times as wide: 2 · 1.96 · √((.15 · .85 + .12 · .88) / 1000) = .06.
    assert found.high - found.low < 2.2


def test_the_mean_over_seeds_is_taken_for_each_shopper() -> None:
    mean = Measured.mean([measured(10), measured(20)])
    assert mean.found[100:200].tolist() == [0.5] * 100
    assert mean.per_100 == pytest.approx(15.0)
    assert mean.hit_rate == pytest.approx(0.075)
