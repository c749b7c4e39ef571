"""How long steps are under noise, where nobody says: as long as the noise lets them be.

At interaction level a device's T noised steps over the run move its vector by noise of deviation
lr · σ · C · √T. For one ε, σ grows with √T, so under steps of a fixed length that noise grows with T,
and drowns the vector after a few rounds. With lr = VECTOR_NOISE / (σ C √T) it is the same at any number
of rounds, and at any ε.

The server's steps are held likewise, at both levels: over R rounds they move the shared table by noise of
η · s · √R, where s is the deviation in one round's mean, and η is what keeps that at TABLE_NOISE. Where
that is longer than a step may be, momentum goes on: with β each mean moves the table by η / (1 − β) of
itself in the end (heavy ball; Polyak 1964), and so does its noise, which is held to the same.

All of it rests on public numbers alone. What defaults/ says is the longest step, where there is little noise.
"""

import math

# Found on a validation purchase of the towel shop, for 300 to 20,000 devices and ε from 1 to 8; the momentum
# on other shoppers (data_seed 7 and 8) than any table of ours tests, 2,000 to 100,000 of them.
VECTOR_NOISE = 0.15
TABLE_NOISE = {"interaction": 0.04, "shopper": 0.11}
MOST_MOMENTUM = {"interaction": 0.0, "shopper": 0.8}  # ten rounds are too few for any


def device_step(noise_multiplier: float, clip: float, steps: int, longest: float) -> float:
    """A device's learning rate. steps: T, over the whole run."""
    return bounded(VECTOR_NOISE, noise_multiplier * clip * math.sqrt(steps), longest)


def server_steps(
    unit: str, deviation: float, rounds: int, longest: float, momentum: float | None = None
) -> tuple[float, float]:
    """The server's learning rate and momentum. deviation: s, in each coordinate of one round's mean update.

    momentum: as said; None: as much as the noise allows.
    """
    most = MOST_MOMENTUM[unit] if momentum is None else momentum
    whole = bounded(TABLE_NOISE[unit], deviation * math.sqrt(rounds), longest / (1.0 - most))  # η / (1 − β)
    if momentum is None:
        momentum = max(0.0, 1.0 - longest / whole)
    return (1.0 - momentum) * whole, momentum


def bounded(most: float, noise: float, longest: float) -> float:
    """The step whose noise is `most`, where a step of 1 has `noise`; at most `longest`."""
    return longest if noise * longest <= most else most / noise
