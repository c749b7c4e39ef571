"""A bound on what an attacker can do: the largest true positive rate at each false positive rate.

The attacker sees all releases and knows everything except whether one unit is in the data, and decides from
what was released. The bound is the trade-off curve between the two errors (Dong, Roth & Su 2022), whichever
of the two cases counts as positive.
"""

from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from terrycloth.models.privacy.accounting import Doubles, History, delta_composed, protected, reduced, sampled

# The values of ε at which the privacy profile is read. Any ε gives a valid bound, so a coarse choice only
# costs tightness. Beyond ln(1/α) the first bound of `by_profile` is above 1, and at 12 the second is 0.99999.
EPSILONS = 12.0 * np.linspace(0.0, 1.0, 201) ** 2


@lru_cache(maxsize=4096)
def most_caught(
    epsilon: float, delta: float, history: History, false_alarms: float, *, only_renyi: bool = False
) -> float:
    """Return the largest true positive rate at one false positive rate, under an (ε, δ) promise.

    history: the releases that spend (ε, δ), which give a tighter bound; empty if they are not known.
    """
    rates = np.array([false_alarms])
    bound = by_profile(np.array([min(epsilon, 700.0)]), np.array([delta]), rates)
    if history:
        bound = np.minimum(bound, most_true_positives(history, rates, only_renyi=only_renyi))
    return float(bound[0])


def most_true_positives(history: History, false_positives: Doubles, *, only_renyi: bool = False) -> Doubles:
    """Return the largest true positive rate of any test at each false positive rate.

    `only_renyi` is explained in `epsilon_composed`.
    """
    short = reduced(history, only_renyi=only_renyi)
    if not short:
        return false_positives
    if not protected(short):
        return np.ones_like(false_positives)
    if only_renyi or sampled(short):
        return by_profile(EPSILONS, delta_composed(short, EPSILONS, only_renyi=only_renyi), false_positives)
    ((noise, _, _),) = short
    return of_gaussian(1.0 / noise, false_positives)


def of_gaussian(mu: float, false_positives: Doubles) -> Doubles:
    """Return Φ(Φ⁻¹(α) + μ), the exact curve of N(0, 1) against N(μ, 1) (Dong, Roth & Su 2022, equation 6)."""
    return np.asarray(ndtr(ndtri(false_positives) + mu), dtype=np.float64)


def by_profile(epsilons: Doubles, deltas: Doubles, false_positives: Doubles) -> Doubles:
    """Return the bound by δ(ε), the same for both cases: TPR ≤ e^ε α + δ, and 1 − α ≤ e^ε (1 − TPR) + δ.

    Both hold at every ε (Wasserman & Zhou 2010, theorem 2.4, and Kairouz, Oh & Viswanath 2015, section 2).
    """
    odds = np.exp(epsilons)[:, None]  # [ε, 1] against α [α]
    noticed = odds * false_positives + deltas[:, None]
    missed = 1.0 - (1.0 - false_positives - deltas[:, None]) / odds
    return np.asarray(np.minimum(noticed, missed).min(axis=0).clip(0.0, 1.0), dtype=np.float64)
