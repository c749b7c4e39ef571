"""The sum of a cohort's updates: exact in any order, with the noise that no device has drawn.

Trainers of many devices at once add up whole multiples of a unit, which is exact in double precision below
2⁵³ of them: so neither the order nor the grouping of the devices shows. Noise that a device's later steps
read is in its update already; all else of it is one Gaussian for the whole cohort, since a sum of independent
Gaussians is a Gaussian.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.training.cohort import Cohort, precision_of
from terrycloth.models.privacy.randomness import Purpose, on_grid
from terrycloth.models.settings import RoundSettings

CHUNK = 2**18  # numbers worked on at a time

# Updates are added up in multiples of 2⁻³² of what an interaction may move in one step.
UNIT = 2.0**-32


def grid_step(settings: RoundSettings) -> float:
    """What updates are added up in multiples of."""
    move = settings.learning_rate * (settings.clip if math.isfinite(settings.clip) else 1.0)
    return UNIT * (move if settings.unit == "interaction" else min(move, settings.clip))


def step_deviation(settings: RoundSettings) -> float:
    """Of the noise in each coordinate of a step's gradient: σ·C at interaction level, else 0."""
    return settings.noise * settings.clip if settings.unit == "interaction" and settings.noise > 0 else 0.0


def noised(
    units: npt.NDArray[np.float64],
    drawn: npt.NDArray[np.int64],
    part: int,
    cohort: Cohort,
    settings: RoundSettings,
) -> Tensor:
    """A sum [n, …] of updates, in units, with the noise of all devices and steps that it lacks.

    drawn: int64, broadcast to the sum's shape: for how many steps of a device it is there already. part
    numbers the arrays of a model, for the noise of each is a stream of its own.
    """
    deviation = settings.learning_rate * step_deviation(settings)
    stream = cohort.stream(int(cohort.devices[0]), part, Purpose.DEVICE_NOISE)
    lacking = np.broadcast_to(len(cohort.devices) * settings.steps_per_round - drawn, units.shape)
    whole = torch.empty(units.shape, dtype=precision_of(settings))
    rows = max(1, CHUNK * len(units) // max(1, units.size))
    for start in range(0, len(units), rows):
        some = slice(start, start + rows)
        summed = units[some] * grid_step(settings)
        if deviation > 0:
            noise = stream.normals(summed.size).reshape(summed.shape)
            summed += deviation * np.sqrt(lacking[some]) * noise
            # No step reads the last step's noise: of every device so much at least is not drawn before.
            grid = deviation * len(cohort.devices) ** 0.5
            summed = on_grid(torch.from_numpy(summed), grid).numpy()
        whole[some] = torch.from_numpy(summed)
    return whole
