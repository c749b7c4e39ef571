"""Gaussian noise on the integers whose sum over devices has a known bound: the distributed discrete Gaussian.

Under distributed trust, each device adds a share of the noise, on integers. So what secure aggregation
releases is exactly what is accounted for, and no rounding follows the noise. With n shares of deviation σ (in
steps of the grid) on d coordinates and sensitivity Δ, the sum is ½ε²-concentrated differentially private with

    ε = min{ √(Δ²/(nσ²) + τd/2),  Δ/(√n·σ) + τ√d },   τ = 10 Σ_{k=1}^{n−1} exp(−2π²σ²·k/(k+1))

(Kairouz, Liu & Steinke 2021, "The distributed discrete Gaussian mechanism", theorem 1). From LEAST_DEVIATION
steps on, τ is below n·10⁻⁶⁷, and what remains is the Rényi curve of a Gaussian of noise multiplier √n·σ/Δ.

The sampler is exact, so it adds nothing to δ. It is a rejection sampler on the integers, as is algorithm 3 of
Canonne, Kamath & Steinke 2020, "The discrete Gaussian for differential privacy". Its proposals, however,
halve in probability from one block of integers to the next, so that they need fair bits only. Double
precision decides whether a proposal is kept if no rounding error could change the answer. Otherwise as many
more digits and random bits decide as it takes (Ducas & Nguyen 2012, "Faster Gaussian lattice sampling using
lazy floating-point arithmetic"). Only the 64th block, which begins at 74 σ, is not exact: its weight is less
than 10⁻¹¹⁰⁰, and no δ in double precision is that small.
"""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from terrycloth.models.privacy.randomness import Doubles, Integers, Stream

Mask = npt.NDArray[np.bool_]

LEAST_DEVIATION = 4.0  # in steps of the grid
MOST_DEVIATION = 2.0**56  # so that 64 blocks fit into 64 bits
BLOCK = 1.178  # minimum length of a block, in deviations: above √(2 ln 2)

# If a uniform draw is further than this from the chance with which it is compared, doubles can be trusted.
# They are off by less than 2⁻⁴⁸. The relative error of the exponent γ is 5·2⁻⁵³, and γ·2ᵛ·exp(−γ) is below 1.
# The exponential and the draw are off by a few units in the last place.
UNSURE = 2.0**-40


def discrete_normals(stream: Stream, count: int, deviation: float) -> Integers:
    """Draw from the discrete Gaussian, mass ∝ exp(−k²/2σ²) on all integers k: [count].

    Two to four of every eight proposals are kept. Raises ValueError for a deviation out of bounds.
    """
    if deviation < LEAST_DEVIATION:
        raise ValueError(f"a deviation of {deviation:g} steps is too coarse for the sum to be a Gaussian")
    if deviation > MOST_DEVIATION:
        raise ValueError(f"a deviation of {deviation:g} steps is too large for integers of 64 bits")
    drawn = np.empty(count, dtype=np.int64)
    open_places = np.arange(count)
    while len(open_places):
        proposed, blocks = _proposals(stream, len(open_places), deviation)
        keep = _kept(stream, proposed, blocks, deviation)
        drawn[open_places[keep]] = proposed[keep]
        open_places = open_places[~keep]
    return drawn


def _proposals(stream: Stream, count: int, deviation: float) -> tuple[Integers, Integers]:
    """Draw integers, and the block v that each is in, which has the probability 2^−(v+1): [count] both.

    Block v holds the integers from tv to t(v+1) − 1, and as many below zero. t is a power of two above √(2 ln
    2)·σ, so that 2ᵛ·exp(−k²/2σ²) is nowhere above 1.
    """
    bits = math.ceil(math.log2(BLOCK * deviation))
    within = stream.words(count).view(np.int64) >> (63 - bits)  # uniform from −t to t − 1
    words = stream.words(count)
    blocks = np.bitwise_count(words ^ (words - np.uint64(1))).astype(np.int64) - 1  # zeros below the first 1
    return within + (np.where(within < 0, -blocks, blocks) << bits), blocks


def _kept(stream: Stream, proposed: Integers, blocks: Integers, deviation: float) -> Mask:
    """Decide whether each proposal is kept, with the probability in `_chances`: [count]."""
    words = stream.words(len(proposed))
    draws, chances = words.astype(np.float64) * 2.0**-64, _chances(proposed, blocks, deviation)
    keep = draws < chances
    for place in np.flatnonzero(np.abs(draws - chances) < UNSURE):
        integer, block = int(proposed[place]), int(blocks[place])
        keep[place] = _is_below(stream, int(words[place]), integer, block, deviation)
    return keep


def _chances(integers: Integers, blocks: Integers, deviation: float) -> Doubles:
    """Return 2ᵛ·exp(−k²/2σ²) for k in block v: [count].

    The factor 2ᵛ makes up for how rarely a block is proposed.
    """
    return np.asarray(np.ldexp(np.exp(-0.5 * np.square(integers / deviation)), blocks), dtype=np.float64)


def _exact_chance(integer: int, block: int, deviation: float, digits: int) -> Decimal:
    """Return the same chance to `digits` digits, of which the last few may be wrong."""
    with localcontext(prec=digits):
        exponent = Decimal(integer) ** 2 / (2 * Decimal(deviation) ** 2)
        chance: Decimal = (-exponent).exp() * 2**block
        return chance


def _is_below(stream: Stream, word: int, integer: int, block: int, deviation: float) -> bool:
    """Return whether a uniform number in (0, 1) is below that chance.

    The first 64 binary digits of the number are `word`.
    """
    bits = 64
    while True:
        # With as many decimal digits as bits, an error is far below 1 in units of the last bit.
        chance = Fraction(_exact_chance(integer, block, deviation, digits=bits)) * 2**bits
        if abs(chance - word) > 2:
            return bool(word < chance)
        word, bits = (word << 64) + int(stream.words(1)[0]), bits + 64


def concentrated_bound(deviation: float, devices: int, sensitivity: float, coordinates: int) -> float:
    """Return ε of the theorem above, in steps: the release is ½ε²-concentrated DP."""
    exponents = 2.0 * math.pi**2 * deviation**2
    # Every term of τ is at most exp(−π²σ²), since k/(k+1) ≥ ½.
    tau = 10.0 * max(0, devices - 1) * math.exp(-0.5 * exponents)
    plain = sensitivity / (math.sqrt(devices) * deviation)
    return min(math.sqrt(plain**2 + 0.5 * tau * coordinates), plain + tau * math.sqrt(coordinates))
