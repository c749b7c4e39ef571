"""The verdict follows from the figures: paired by shopper, and against every floor."""

import numpy as np
import pytest

from terrycloth.experiments.assessment.period import Measured
from terrycloth.experiments.assessment.verdict import Answer, Verdict, difference, verdict

SHOPPERS = 1_000


def finds(per_100: float) -> Measured:
    """The first shoppers find something and the others do not: differences have one sign."""
    found = (np.arange(SHOPPERS) < per_100 * SHOPPERS / 100).astype(np.float64)
    return Measured(found, found / 2)


def answer(
    unprotected: float, private: float, near: bool = False, with_more: tuple[float, ...] = ()
) -> Verdict:
    floors = {"best sellers": finds(10), "recent best sellers": finds(12)}
    more = {10 ** (1 + place): finds(figure) for place, figure in enumerate(with_more)}
    return verdict(floors, finds(unprotected), finds(private), near, "ε = 2", more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (answer(20, 20, near=True), Answer.YES),
        (answer(20, 15), Answer.AT_A_COST),
        (answer(20, 12, with_more=(12, 18)), Answer.WITH_MORE_SHOPPERS),
        (answer(20, 11, with_more=(12, 12)), Answer.NO),
        (answer(12.1, 12.1, near=True), Answer.NOT_PERSONAL),
        (answer(11, 15), Answer.NOT_PERSONAL),  # chance alone puts the private model above the other
    ],
)
def test_every_answer(found: Verdict, expected: Answer) -> None:
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


def test_counting_purchases_is_said_only_where_it_points_the_other_way() -> None:
    many = Measured(finds(12).found, finds(12).found * 0.9)  # as many shoppers, but more of what each buys
    floors = {"best sellers": Measured(finds(12).found, finds(12).found * 0.5)}
    found = verdict(floors, finds(20), many, False, "ε = 2", {})
    assert found.answer is Answer.NO
    assert found.sentence.endswith("it lists 10.8% of what a shopper then buys, and best sellers 6.0%.")
    assert "Counted by purchases" not in answer(20, 15).sentence


def test_a_difference_is_in_shoppers_of_100_and_paired() -> None:
    found = difference(finds(15), finds(12))
    assert found.mean == pytest.approx(3.0)
    assert 0 < found.low < 3.0 < found.high
    # Unpaired, it would be about three times as wide: 2 · 1.96 · √((.15 · .85 + .12 · .88) / 1000) = .06.
    assert found.high - found.low < 2.2


def test_a_mean_over_seeds_is_by_shopper() -> None:
    mean = Measured.mean([finds(10), finds(20)])
    assert mean.found[100:200].tolist() == [0.5] * 100
    assert mean.per_100 == pytest.approx(15.0)
    assert mean.hit_rate == pytest.approx(0.075)
