"""How long steps are under noise at interaction level, where nobody says: as long as the noise lets them be.

A device's T noised steps over the run move its vector by noise of deviation lr · σ · C · √T. For one ε, σ
grows with √T, so under steps of a fixed length that noise grows with T, and drowns the vector after a few
rounds. With lr = VECTOR_NOISE / (σ C √T) it is the same at any number of rounds, and at any ε. The server's
step is held likewise: it averages the same noise over q·N devices, and lets no more than TABLE_NOISE into the
shared table.

Both rest on public numbers alone. What defaults/ says is the longest step, where there is little noise.
"""

import math

VECTOR_NOISE = 0.15  # found, like the next, on a validation purchase of the towel shop
TABLE_NOISE = 0.04


def device_step(noise_multiplier: float, clip: float, steps: int, longest: float) -> float:
    """A device's learning rate. steps: T, over the whole run."""
    noise = noise_multiplier * clip * math.sqrt(steps)
    return longest if noise * longest <= VECTOR_NOISE else VECTOR_NOISE / noise


def server_step(vector_noise: float, devices: float, longest: float) -> float:
    """The server's learning rate. vector_noise: lr · σ · C · √T; devices: q·N."""
    noise = vector_noise / math.sqrt(devices)
    return longest if noise * longest <= TABLE_NOISE else TABLE_NOISE / noise
