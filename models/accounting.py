"""ε of Gaussian steps, by Opacus's accountants (RDP: Mironov 2017; PRV: Gopi, Lee & Wutschitz 2021)."""

import math
import warnings
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from models.errors import UserError


class Spent(NamedTuple):
    """A valid ε and the accountant that gave it."""

    epsilon: float
    accountant: str


def epsilon_spent(noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> Spent:
    """ε at δ after so many Poisson-sampled Gaussian steps: the tighter of two valid bounds."""
    return epsilon_composed(((noise_multiplier, sampling_rate, steps),), delta)


@lru_cache(maxsize=4096)
def epsilon_composed(history: tuple[tuple[float, float, int], ...], delta: float) -> Spent:
    """ε at δ of a history of (noise multiplier, sampling rate, steps), composed over all of it."""
    history = tuple(entry for entry in history if entry[2] > 0)
    if not history:
        return Spent(0.0, "none")
    if delta <= 0 or any(noise_multiplier <= 0 for noise_multiplier, _, _ in history):
        return Spent(math.inf, "none")
    from opacus.accountants import PRVAccountant, RDPAccountant

    bounds = []
    for accountant in (RDPAccountant(), PRVAccountant()):
        accountant.history = list(history)
        try:
            # A sampling rate of 1 makes PRV take log 0 where it means −∞; RDP tells where its orders end.
            with np.errstate(divide="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                bounds.append(Spent(accountant.get_epsilon(delta), f"opacus-{accountant.mechanism()}"))
        except (RuntimeError, ValueError, OverflowError, MemoryError):
            continue  # PRV has no finite mesh for some extreme settings; RDP bounds them all
    return min((bound for bound in bounds if math.isfinite(bound.epsilon)), default=Spent(math.inf, "none"))


def noise_for(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The least noise multiplier, within 0.5% of ε, whose steps together spend at most ε at δ."""
    low, high = 0.0, 1.0
    while epsilon_spent(high, sampling_rate, steps, delta).epsilon > epsilon:
        low, high = high, 2.0 * high
        if high > 1e6:
            raise UserError(
                f"no noise multiplier below 1e6 keeps ε = {epsilon:g}: ask for a larger --epsilon"
            )
    while epsilon - epsilon_spent(high, sampling_rate, steps, delta).epsilon > 0.005 * epsilon:
        middle = 0.5 * (low + high)
        if high - middle < 1e-6 * high:
            break
        if epsilon_spent(middle, sampling_rate, steps, delta).epsilon > epsilon:
            low = middle
        else:
            high = middle
    return high
