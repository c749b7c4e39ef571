"""The attacker's trade-off curve, by numbers worked out by hand and by two independent routes."""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from terrycloth.models.privacy.accounting import delta_composed
from terrycloth.models.privacy.tradeoff import EPSILONS, by_profile, most_true_positives, of_gaussian

RATES = np.array([0.001, 0.01, 0.1])


def test_the_curve_of_a_gaussian_by_hand() -> None:
    """At α = 2.275% (2 deviations out) a shift of μ = 2 makes β even, and of μ = 1 one deviation: 15.87%."""
    two_out = np.array([0.02275013194817921])
    assert of_gaussian(2.0, two_out) == pytest.approx([0.5])
    assert of_gaussian(1.0, two_out) == pytest.approx([0.15865525393145707])
    # Noise 2 in four rounds equals one release of μ = √4 / 2 = 1.
    assert most_true_positives(((2.0, 1.0, 4),), two_out) == pytest.approx([0.15865525393145707])


def test_the_curve_of_epsilon_without_delta_by_hand() -> None:
    """With ε = ln 3 and δ = 0 the curve is the smaller of 3α and 1 − (1 − α) / 3."""
    bound = by_profile(np.array([math.log(3.0)]), np.array([0.0]), np.array([0.1, 0.25, 0.5]))
    assert bound == pytest.approx([0.3, 0.75, 1 - 0.5 / 3])


def test_the_curve_of_epsilon_and_delta_by_hand() -> None:
    """With ε = ln 3 and δ = 0.1 the rates are 3 · 0.1 + 0.1 and 1 − (1 − 0.5 − 0.1) / 3."""
    bound = by_profile(np.array([math.log(3.0)]), np.array([0.1]), np.array([0.1, 0.5]))
    assert bound == pytest.approx([0.4, 1 - 0.4 / 3])
    assert by_profile(np.zeros(1), np.ones(1), RATES) == pytest.approx(np.ones(3))


def test_the_smallest_of_several_bounds_counts() -> None:
    epsilons, deltas = np.array([0.0, math.log(3.0)]), np.array([0.2, 0.0])
    assert by_profile(epsilons, deltas, np.array([0.05, 0.15])) == pytest.approx([0.15, 0.35])


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
def test_the_privacy_profile_of_a_gaussian_gives_its_exact_curve(mu: float) -> None:
    history = ((1.0 / mu, 1.0, 1),)
    exact = of_gaussian(mu, RATES)
    bound = by_profile(EPSILONS, delta_composed(history, EPSILONS), RATES)
    assert (exact <= bound).all()
    assert bound == pytest.approx(exact, rel=0.01)
    assert most_true_positives(history, RATES) == pytest.approx(exact)


@pytest.mark.slow
def test_sampling_at_a_rate_near_one_is_close_to_no_sampling() -> None:
    almost = most_true_positives(((2.0, 0.999, 4),), RATES)
    assert almost == pytest.approx(most_true_positives(((2.0, 1.0, 4),), RATES), rel=0.02)


def test_one_sampled_step_by_the_best_test_of_either_neighbour() -> None:
    """The likelihood ratio rises with x, so the best test is a threshold with error rates in closed form."""
    rate, noise = 0.3, 0.7

    def mixture(threshold: np.ndarray) -> np.ndarray:
        return (1 - rate) * ndtr(-threshold / noise) + rate * ndtr((1 - threshold) / noise)

    without = -noise * ndtri(RATES)  # thresholds that noise alone passes at the given rates
    noticed_presence = mixture(without)
    fine = np.linspace(-8, 8, 1_000_001)
    # The positive is absence: noise falls below the threshold, at the false positive rates of the mixture.
    threshold = np.interp(RATES, 1 - mixture(fine), fine)
    noticed_absence = ndtr(threshold / noise)
    bound = most_true_positives(((noise, rate, 1),), RATES)
    assert (bound >= np.maximum(noticed_presence, noticed_absence)).all()
    assert bound == pytest.approx(np.maximum(noticed_presence, noticed_absence), rel=0.1)


def test_an_attacker_guesses_if_nothing_is_released_and_is_certain_without_noise() -> None:
    assert most_true_positives((), RATES).tolist() == RATES.tolist()
    assert most_true_positives(((1.0, 0.5, 0),), RATES).tolist() == RATES.tolist()
    assert most_true_positives(((0.0, 0.5, 1),), RATES).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.slow
def test_the_attacker_bound_is_looser_for_a_renyi_curve_and_for_more_rounds() -> None:
    gaussian = most_true_positives(((2.0, 1.0, 1),), RATES)
    assert (gaussian < most_true_positives(((2.0, 1.0, 1),), RATES, only_renyi=True)).all()
    assert (gaussian < most_true_positives(((2.0, 1.0, 2),), RATES)).all()
    assert (most_true_positives(((2.0, 0.5, 1),), RATES) < gaussian).all()
    assert (gaussian > RATES).all()
