"""The paired bootstrap, on cases whose resampled means are known exactly."""

import numpy as np
import pytest
from scipy.stats import binom

from terrycloth.experiments.evaluation.bootstrap import Difference, paired_bootstrap


def interval(differences: list[float]) -> tuple[float, float, float]:
    found = paired_bootstrap(np.array(differences))
    return found.mean, found.low, found.high


def test_identical_runs_have_a_zero_interval() -> None:
    assert interval([0.0] * 7) == (0.0, 0.0, 0.0)


def test_a_constant_difference_has_no_spread() -> None:
    assert interval([0.25] * 7) == (0.25, 0.25, 0.25)


def test_two_shoppers_by_hand() -> None:
    """Two draws of 0 and 1 have mean 0, ½ or 1 with chances ¼, ½ and ¼, so 95% reach from end to end."""
    assert interval([0.0, 1.0]) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize(("shoppers", "gained"), [(50, 10), (400, 3), (1000, 500)])
def test_the_interval_of_ones_and_zeros_is_binomial(shoppers: int, gained: int) -> None:
    mean, low, high = interval([1.0] * gained + [0.0] * (shoppers - gained))
    exact = binom.ppf([0.025, 0.975], shoppers, gained / shoppers)
    assert mean == gained / shoppers
    assert np.abs(np.array([low, high]) * shoppers - exact).max() <= 1, "more than one shopper off"


def test_the_interval_equals_that_of_resampled_indices() -> None:
    """The standard error of either end is below 0.006 (2,000 and 10,000 resamples)."""
    generator = np.random.default_rng(5)
    differences = generator.normal(0.1, 1.0, size=60)
    means = differences[generator.integers(60, size=(10_000, 60))].mean(axis=1)
    found = paired_bootstrap(differences)
    assert np.abs(np.quantile(means, [0.025, 0.975]) - [found.low, found.high]).max() < 0.03


def test_an_interval_with_zero_in_it_is_too_close_to_tell_apart() -> None:
    close = Difference(0.01, -0.001, 0.02, 100)
    assert close.verdict == "+0.010, too close to tell apart (from -0.001 to +0.020)"
    assert Difference(0.0, 0.0, 0.0, 100).verdict.startswith("+0.000, too close to tell apart")
    assert Difference(0.01, 0.001, 0.02, 100).verdict.startswith("+0.010, above it")
    assert Difference(-0.01, -0.02, -0.001, 100).verdict.startswith("-0.010, below it")


def test_few_shoppers_cannot_be_told_apart() -> None:
    alone = paired_bootstrap(np.array([1.0]))
    assert (alone.low, alone.high) == (1.0, 1.0), "the interval has no width"
    assert alone.verdict == "+1.000, too few shoppers to tell apart"
    assert "too few" in Difference(0.5, 0.4, 0.6, 19).verdict
    assert "above it" in Difference(0.5, 0.4, 0.6, 20).verdict
