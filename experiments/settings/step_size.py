"""The default learning rates under noise: the largest that keep the noise within a fixed bound.

At interaction level, the T noised steps of a device over the run add noise with the standard deviation
lr · σ · C · √T to its vector. For a fixed ε, σ grows with √T. So with a fixed learning rate the noise grows
with T, and hides the vector after a few rounds. With lr = VECTOR_NOISE / (σ C √T) the noise is the same for
any number of rounds and any ε.

The server's steps are bounded in the same way, at both levels. Over R rounds they add noise of η · s · √R to
the shared table, where s is the standard deviation of the noise in one round's mean; η is chosen so that this
equals TABLE_NOISE. If that η is larger than the longest step, momentum is used as well: with momentum β, each
mean finally moves the table by η / (1 − β) of itself (heavy ball; Polyak 1964), and so does its noise, which
is kept at the same bound.

All of this depends only on public numbers. The learning rates in defaults/ are the longest steps, which are
used if there is little noise.
"""

import math

# Tuned on validation purchases of the towel shop, for 300 to 20,000 devices and ε from 1 to 8. The momentum
# was tuned on 2,000 to 100,000 shoppers (data_seed 7 and 8) that no table of ours tests.
VECTOR_NOISE = 0.15
TABLE_NOISE = {"interaction": 0.04, "shopper": 0.11}
MOST_MOMENTUM = {"interaction": 0.0, "shopper": 0.8}  # ten rounds are too few for momentum


def device_step(noise_multiplier: float, clip: float, steps: int, longest: float) -> float:
    """A device's learning rate. steps: T, over the whole run. longest: its upper bound."""
    return bounded(VECTOR_NOISE, noise_multiplier * clip * math.sqrt(steps), longest)


def server_steps(
    unit: str, deviation: float, rounds: int, longest: float, momentum: float | None = None
) -> tuple[float, float]:
    """The server's learning rate and momentum.

    deviation: s, in each coordinate of one round's mean update. longest: the longest step. momentum: the
    given momentum; None: as much as the noise allows.
    """
    most = MOST_MOMENTUM[unit] if momentum is None else momentum
    whole = bounded(TABLE_NOISE[unit], deviation * math.sqrt(rounds), longest / (1.0 - most))  # η / (1 − β)
    if momentum is None:
        momentum = max(0.0, 1.0 - longest / whole)
    return (1.0 - momentum) * whole, momentum


def bounded(most: float, noise: float, longest: float) -> float:
    """The step whose noise is `most`, if a step of 1 has the noise `noise`; at most `longest`."""
    return longest if noise * longest <= most else most / noise
