"""Noise on the integers has the masses of the discrete Gaussian, and its sum the bound that is claimed."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2

from models.discrete_gaussian import LEAST_DEVIATION, _kept_part, concentrated_bound, discrete_normals
from models.randomness import Purpose, Stream

ALARM = 1e-7


def stream(seed: int) -> Stream:
    return Stream(bytes([seed] * 32), round=1, purpose=Purpose.DEVICE_NOISE)


@pytest.mark.parametrize("deviation", [4.0, 7.3])
def test_every_integer_has_its_mass(deviation: float) -> None:
    """Pearson's test against exp(−k²/2σ²), both tails pooled where fewer than 20 are expected."""
    draws = discrete_normals(stream(1), 400_000, deviation)
    reach = math.ceil(10 * deviation)
    integers = np.arange(-reach, reach + 1)
    mass = np.exp(-0.5 * np.square(integers / deviation))
    expected = len(draws) * mass / mass.sum()
    counted = np.bincount(draws + reach, minlength=len(integers))
    common = expected > 20
    statistic = float((np.square(counted - expected) / expected)[common].sum())
    rest = expected[~common].sum()
    statistic += (counted[~common].sum() - rest) ** 2 / rest
    assert chi2.sf(statistic, common.sum()) > ALARM


def test_what_is_kept_is_the_ratio_of_two_masses() -> None:
    deviation = 4.0
    integers = np.array([0.0, 1.0, -7.0, 20.0, 36.0])

    def ratio(k: float) -> float:
        # In units of exp(−k²/2σ²), so that nothing underflows.
        cell, _ = quad(lambda t: math.exp(-(2 * k * t + t * t) / (2 * deviation**2)), -0.5, 0.5)
        return 1.0 / cell

    by_hand = [ratio(k) / ratio(0.0) for k in integers]
    assert _kept_part(integers, deviation) == pytest.approx(by_hand, rel=1e-12)
    assert _kept_part(integers, deviation).max() == pytest.approx(1.0, abs=1e-15)


def test_large_deviations_need_no_table() -> None:
    draws = discrete_normals(stream(2), 200_000, 3e7)
    assert float(np.square(draws / 3e7).sum()) == pytest.approx(200_000, abs=6 * math.sqrt(2 * 200_000))


def test_a_stream_says_all() -> None:
    assert np.array_equal(*(discrete_normals(stream(3), 50, 5.0) for _ in range(2)))


def test_a_grid_too_coarse_is_refused() -> None:
    with pytest.raises(ValueError, match="too coarse"):
        discrete_normals(stream(1), 1, 0.99 * LEAST_DEVIATION)


def test_the_bound_by_hand() -> None:
    """Two devices, σ = ½, Δ = 1, one coordinate: τ = 10 exp(−π²σ²) with k/(k+1) = ½."""
    tau = 10 * math.exp(-(math.pi**2) / 4)
    plain = 1 / (math.sqrt(2) * 0.5)
    by_hand = min(math.sqrt(plain**2 + tau / 2), plain + tau)
    assert concentrated_bound(0.5, 2, 1.0, 1) == pytest.approx(by_hand, rel=1e-12)


def test_from_the_least_deviation_on_the_sum_is_a_gaussian_to_the_last_digit() -> None:
    devices, sensitivity = 10**6, 3e5
    gaussian = sensitivity / (math.sqrt(devices) * LEAST_DEVIATION)
    assert concentrated_bound(LEAST_DEVIATION, devices, sensitivity, 10**7) == gaussian
    assert concentrated_bound(0.5, devices, 1.0, 10**7) > 1.0 / (math.sqrt(devices) * 0.5)
