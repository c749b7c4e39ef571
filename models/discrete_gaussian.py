"""Gaussian noise on the integers, whose sum over devices is known: the distributed discrete Gaussian.

Under distributed trust each device adds a share of the noise, on integers, so that what secure aggregation
releases is exactly what is accounted for: no rounding comes after the noise. With n shares of deviation σ (in
steps of the grid) on d coordinates and sensitivity Δ, the sum is ½ε²-concentrated differentially private with

    ε = min{ √(Δ²/(nσ²) + τd/2),  Δ/(√n·σ) + τ√d },   τ = 10 Σ_{k=1}^{n−1} exp(−2π²σ²·k/(k+1))

(Kairouz, Liu & Steinke 2021, "The distributed discrete Gaussian mechanism", theorem 1). From LEAST_DEVIATION
steps on, τ is below n·10⁻⁶⁷: what remains is the Rényi curve of a Gaussian of noise multiplier √n·σ/Δ.

The sampler is not exact, and δ does not say so. A draw is proposed in double precision, which moves the edges
between integers: its distance in total variation from the rounded Gaussian, counted word by word for σ from
4 to 1,000, is 0.4·σ·2⁻⁵² (what lies beyond 9.2 σ, where it ends, weighs 4·10⁻²⁰). Added up over m draws as
if all conspired, it would add (1 + e^ε)·m times that to δ: 3·10⁻⁷ for 100 devices with σ = 100 on 3,000
coordinates in 30 rounds at ε = 1, and more than δ itself for thousands of devices at ε = 8. Such rounding is
not expected to conspire, and sums smooth it; but that is no proof, which needs an exact sampler (Canonne,
Kamath & Steinke 2020).
"""

import math

import numpy as np
import numpy.typing as npt

from models.randomness import CHUNK, Integers, Stream

LEAST_DEVIATION = 4.0  # in steps of the grid

# Gauss–Legendre on (0, ½), exact for polynomials of degree 15.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_WITHIN_CELL, _WEIGHTS = 0.25 * (_NODES + 1.0), 0.5 * _WEIGHTS


def discrete_normals(stream: Stream, count: int, deviation: float) -> Integers:
    """Draws from the discrete Gaussian, mass ∝ exp(−k²/2σ²) on the integers, as far as 9.2 σ: [count].

    A rounded Gaussian is proposed and kept with probability ∝ the ratio of the two masses (at least 1 − 1/σ²
    of them are kept near the middle), so no table of the size of σ is needed. Raises ValueError where
    deviation is below LEAST_DEVIATION.
    """
    if deviation < LEAST_DEVIATION:
        raise ValueError(f"a deviation of {deviation:g} steps is too coarse for the sum to be a Gaussian")
    drawn = np.empty(count, dtype=np.int64)
    for start in range(0, count, CHUNK):
        open_places = np.arange(start, min(start + CHUNK, count))
        while len(open_places):
            proposed = np.rint(deviation * stream.normals(len(open_places)))
            keep = stream.uniforms(len(open_places)) < _kept_part(proposed, deviation)
            drawn[open_places[keep]] = proposed[keep].astype(np.int64)
            open_places = open_places[~keep]
    return drawn


def _kept_part(integers: npt.NDArray[np.float64], deviation: float) -> npt.NDArray[np.float64]:
    """exp(−k²/2σ²) over the Gaussian's mass in the cell k ± ½, as a part of its largest value, at k = 0.

    ∫ exp(−(k+t)²/2σ²) dt over |t| < ½ is exp(−k²/2σ²) · 2 ∫ exp(−t²/2σ²) cosh(kt/σ²) dt over (0, ½).
    """
    variance = deviation * deviation
    weights = _WEIGHTS * np.exp(-np.square(_WITHIN_CELL) / (2.0 * variance))
    cell = np.zeros_like(integers)
    for within, weight in zip(_WITHIN_CELL, weights, strict=True):
        cell += weight * np.cosh(integers * (within / variance))
    return np.asarray(weights.sum() / cell, dtype=np.float64)


def concentrated_bound(deviation: float, devices: int, sensitivity: float, coordinates: int) -> float:
    """ε of the theorem above: the release is ½ε²-concentrated differentially private. All in steps."""
    exponents = 2.0 * math.pi**2 * deviation**2
    # k/(k+1) ≥ ½: every term is at most exp(−π²σ²).
    tau = 10.0 * max(0, devices - 1) * math.exp(-0.5 * exponents)
    plain = sensitivity / (math.sqrt(devices) * deviation)
    return min(math.sqrt(plain**2 + 0.5 * tau * coordinates), plain + tau * math.sqrt(coordinates))
