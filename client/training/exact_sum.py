"""The sum of a cohort's updates: exact in any order, plus the noise that no device has drawn yet.

Trainers of many devices at once add up whole multiples of a unit. In double precision this is exact below
2⁵³ units, so the result shows neither the order nor the grouping of the devices. The noise that a device's
later steps read is already in its update. The remaining noise is drawn as one Gaussian for the whole cohort,
because a sum of independent Gaussians is a Gaussian.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.training.cohort import Cohort, precision_of
from terrycloth.models.privacy.randomness import Purpose, on_grid
from terrycloth.models.settings import RoundSettings

CHUNK = 2**18  # numbers processed at a time

# Updates are added up in multiples of 2⁻³² of the largest move of one interaction in one step.
UNIT = 2.0**-32


def grid_step(settings: RoundSettings) -> float:
    """The unit in whose multiples updates are added up."""
    move = settings.learning_rate * (settings.clip if math.isfinite(settings.clip) else 1.0)
    return UNIT * (move if settings.unit == "interaction" else min(move, settings.clip))


def step_deviation(settings: RoundSettings) -> float:
    """Deviation of the noise in each coordinate of a step's gradient: σ·C at interaction level, else 0."""
    return settings.noise * settings.clip if settings.unit == "interaction" and settings.noise > 0 else 0.0


def noised(
    units: npt.NDArray[np.float64],
    drawn: npt.NDArray[np.int64],
    part: int,
    cohort: Cohort,
    settings: RoundSettings,
) -> Tensor:
    """Convert a sum of updates from units, and add the missing noise of all devices and steps.

    units: [n, …], the sum in units of `grid_step`. drawn: int64, broadcast to the sum's shape: how many
    steps, over all devices, have their noise in the sum already. part: number of the array in the model; each
    array's noise has its own stream. Returns a tensor of the sum's shape, in the precision that
    `precision_of` gives.
    """
    deviation = settings.learning_rate * step_deviation(settings)
    stream = cohort.stream(int(cohort.devices[0]), part, Purpose.DEVICE_NOISE)
    missing_steps = np.broadcast_to(len(cohort.devices) * settings.steps_per_round - drawn, units.shape)
    result = torch.empty(units.shape, dtype=precision_of(settings))
    rows = max(1, CHUNK * len(units) // max(1, units.size))
    for start in range(0, len(units), rows):
        some = slice(start, start + rows)
        summed = units[some] * grid_step(settings)
        if deviation > 0:
            noise = stream.normals(summed.size).reshape(summed.shape)
            summed += deviation * np.sqrt(missing_steps[some]) * noise
            # No step reads the last step's noise, so at least that much noise per device is drawn here.
            grid = deviation * len(cohort.devices) ** 0.5
            summed = on_grid(torch.from_numpy(summed), grid).numpy()
        result[some] = torch.from_numpy(summed)
    return result
