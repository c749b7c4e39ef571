"""Integer noise follows the discrete Gaussian distribution, and its sum keeps the claimed bound."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2

import terrycloth.models.privacy.discrete_gaussian
from terrycloth.models.privacy.discrete_gaussian import (
    LEAST_DEVIATION,
    MOST_DEVIATION,
    _chances,
    _exact_chance,
    _kept,
    _proposals,
    concentrated_bound,
    discrete_normals,
)
from terrycloth.models.privacy.randomness import Purpose, Stream

ALARM = 1e-7


def stream(seed: int) -> Stream:
    return Stream(bytes([seed] * 32), round=1, purpose=Purpose.DEVICE_NOISE)


class GivenWords(Stream):
    """A stream that returns the given words."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        given, self.left = self.left[:count], self.left[count:]
        assert len(given) == count, "more was drawn than is needed"
        return np.array(given, dtype=np.uint64)


def exponential(exponent: Fraction) -> Fraction:
    """Return exp(−γ) by its series, to 200 digits for γ up to 100."""
    term = total = Fraction(1)
    for power in range(1, 900):
        term = Fraction(round(term * -exponent / power * 10**300), 10**300)
        total += term
    return total


@pytest.mark.parametrize("deviation", [4.0, 7.3])
def test_every_integer_is_drawn_with_its_probability(deviation: float) -> None:
    """Pearson's χ² test against exp(−k²/2σ²); integers expected fewer than 20 times are pooled."""
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


def test_proposals_use_every_bit_fairly() -> None:
    """At σ = 4 a block has 8 integers. From 4 bits and the place of the first 1, each integer occurs once."""
    ends = range(2**4)
    proposed, chances = {}, {}
    for block in range(6):
        # The bits above the first 1 carry no information.
        words = GivenWords(*(end << 60 for end in ends), *(5 << block + 1 | 1 << block for _ in ends))
        integers, blocks = _proposals(words, len(ends), 4.0)
        assert blocks.tolist() == [block] * len(ends)
        proposed |= dict.fromkeys(integers.tolist(), Fraction(1, 2 ** (4 + block + 1)))
        chances |= dict(zip(integers.tolist(), _chances(integers, blocks, 4.0), strict=True))
    assert sorted(proposed) == list(range(-48, 48))
    masses = [float(proposed[k]) * chances[k] * 2**5 * math.exp(k * k / 32) for k in proposed]
    assert masses == pytest.approx([1.0] * 96, rel=1e-12)


@pytest.mark.parametrize("deviation", [4.0, 4.75, 6.79, 6.8, 1234.5, MOST_DEVIATION])
def test_the_rounding_error_of_doubles_is_far_below_the_unsure_margin(deviation: float) -> None:
    """No probability is above 1, where it would be cut off."""
    integers, blocks = _proposals(stream(4), 3_000, deviation)
    edges = np.arange(20)
    length = int(integers[blocks == 0].max()) + 1  # a probability is largest where a block begins
    length = 2 ** math.ceil(math.log2(length))
    integers, blocks = np.append(integers, edges * length), np.append(blocks, edges)
    given = _chances(integers, blocks, deviation)
    exact = [_exact_chance(int(k), int(v), deviation, 50) for k, v in zip(integers, blocks, strict=True)]
    assert max(exact) == 1
    assert max(abs(Decimal(float(a)) - b) for a, b in zip(given, exact, strict=True)) < Decimal(2) ** -48


@pytest.mark.parametrize(("integer", "block"), [(1, 0), (-7, 0), (8, 1), (-29, 3), (33, 4)])
def test_more_bits_are_drawn_where_doubles_cannot_decide(integer: int, block: int) -> None:
    chance = 2**block * exponential(Fraction(integer**2, 2 * 4**2))
    first, second, third = (math.floor(chance * 2**bits) % 2**64 for bits in (64, 128, 192))

    def kept(*words: int) -> bool:
        return bool(_kept(GivenWords(*words), np.array([integer]), np.array([block]), 4.0)[0])

    for near in (-3, 3):
        assert kept(first + near) == (near < 0)  # no further word is drawn
        assert kept(first, second + near) == (near < 0)
        assert kept(first, second, third + near) == (near < 0)


def test_deciding_by_doubles_or_exactly_gives_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    by_doubles = discrete_normals(stream(5), 500, 4.5)
    monkeypatch.setattr(terrycloth.models.privacy.discrete_gaussian, "UNSURE", 2.0)
    assert np.array_equal(discrete_normals(stream(5), 500, 4.5), by_doubles)


@pytest.mark.parametrize("deviation", [4.0, 6.79, 6.8, 1e4])
def test_two_to_four_of_eight_proposals_are_kept(deviation: float) -> None:
    count = 100_000
    integers, blocks = _proposals(stream(6), count, deviation)
    assert 2 / 8 < _chances(integers, blocks, deviation).mean() < 4.3 / 8


def test_large_deviations_need_no_table() -> None:
    draws = discrete_normals(stream(2), 200_000, 3e7)
    assert float(np.square(draws / 3e7).sum()) == pytest.approx(200_000, abs=6 * math.sqrt(2 * 200_000))


def test_the_same_stream_gives_the_same_draws() -> None:
    assert np.array_equal(*(discrete_normals(stream(3), 50, 5.0) for _ in range(2)))


def test_a_grid_too_coarse_or_too_fine_is_refused() -> None:
    with pytest.raises(ValueError, match="too coarse"):
        discrete_normals(stream(1), 1, 0.99 * LEAST_DEVIATION)
    with pytest.raises(ValueError, match="too large"):
        discrete_normals(stream(1), 1, 1.01 * MOST_DEVIATION)


def test_the_furthest_proposals_fit_into_64_bits() -> None:
    """All 64 bits before the first 1 are zero: the last block, where 64-bit numbers would overflow first."""
    for end, furthest in ((2**63 - 1, 2**63 - 1), (2**63, -(2**63))):
        integers, blocks = _proposals(GivenWords(end, 0), 1, MOST_DEVIATION)
        assert (int(blocks[0]), integers.dtype) == (63, np.int64)
        assert abs(int(integers[0]) - furthest) < 2**57


def test_the_concentrated_bound_by_hand() -> None:
    """Two devices, σ = ½, Δ = 1 and one coordinate give τ = 10 exp(−π²σ²) with k/(k+1) = ½."""
    tau = 10 * math.exp(-(math.pi**2) / 4)
    plain = 1 / (math.sqrt(2) * 0.5)
    by_hand = min(math.sqrt(plain**2 + tau / 2), plain + tau)
    assert concentrated_bound(0.5, 2, 1.0, 1) == pytest.approx(by_hand, rel=1e-12)


def test_at_the_least_deviation_the_bound_of_a_sum_equals_a_gaussians() -> None:
    devices, sensitivity = 10**6, 3e5
    gaussian = sensitivity / (math.sqrt(devices) * LEAST_DEVIATION)
    assert concentrated_bound(LEAST_DEVIATION, devices, sensitivity, 10**7) == gaussian
    assert concentrated_bound(0.5, devices, 1.0, 10**7) > 1.0 / (math.sqrt(devices) * 0.5)
