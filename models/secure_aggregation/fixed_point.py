"""Updates as integers mod 2³² or 2⁶⁴: what secure aggregation adds up, with room for the sum of all devices.

An update is rounded to multiples of a public step. Rounding moves it by half a step a coordinate at most, so
the sensitivity in steps is the clip's plus √d for d coordinates (two neighbouring sums are rounded apart).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from terrycloth.models.errors import UserError
from terrycloth.models.privacy.discrete_gaussian import LEAST_DEVIATION, concentrated_bound
from terrycloth.models.privacy.randomness import CHUNK
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import RoundSettings

NOISE_REACH = 10.0  # in deviations; a draw of noise lies further out with a chance of 2·10⁻²³
ROUNDED_APART = 1e-12  # two ways to compute one bound


@dataclass(frozen=True)
class FixedPoint:
    """step: the grid's. sensitivity, and share, a device's noise deviation: in steps. width: 32 or 64."""

    step: float
    sensitivity: float
    share: float
    width: int

    def encode(self, update: Parameters) -> Tensor:
        """All arrays, in order of their names, as one vector of steps: int64 [coordinates]."""
        parts = [update[name].double().reshape(-1) for name in sorted(update)]
        steps = torch.empty(sum(map(len, parts)), dtype=torch.int64)
        for part, into in zip(parts, steps.split([*map(len, parts)]), strict=True):
            for some, place in zip(part.split(CHUNK), into.split(CHUNK), strict=True):
                place.copy_(torch.round(some / self.step))
        return steps

    def wrapped(self, steps: Tensor) -> Tensor:
        """int64 steps mod 2^width, as the signed integers of that width."""
        return steps if self.width == 64 else steps.to(torch.int32)

    def decode(self, total: Tensor, like: Parameters) -> Parameters:
        """A sum of `wrapped` vectors as float64 arrays with the names and shapes of `like`."""
        flat = total.to(torch.int64).double() * self.step
        parts = flat.split([like[name].numel() for name in sorted(like)])
        return {name: part.reshape(like[name].shape) for name, part in zip(sorted(like), parts, strict=True)}


def fixed_point(settings: RoundSettings, coordinates: int) -> FixedPoint:
    """The grid of a round's updates, found alike by devices and server: from public numbers alone.

    Fine enough that rounding adds at most 1/64 to the sensitivity, and that one device's share of the noise
    is no less than LEAST_DEVIATION steps. Wide enough that the sum of all devices, each at its clip and with
    noise as far out as NOISE_REACH, stays within half the range, so that no sum wraps around (one that did
    would be wrong, and no less private). Raises UserError where no width is, and ValueError where the shares
    would add up to less than is booked.
    """
    noise, least = settings.noise, math.sqrt(settings.least_devices)
    finest = max(64.0 * math.sqrt(coordinates), 2.0 * LEAST_DEVIATION * least / noise if noise else 0.0)
    steps = 2.0 ** math.ceil(math.log2(finest))
    # Sums of a device group's devices are in single precision: rounded apart by 2⁻²³ of their norm at most.
    sensitivity = steps * (1.0 + 2.0**-23 * settings.devices) + math.sqrt(coordinates)
    share = noise * sensitivity / least
    largest = settings.devices * (steps + 1.0 + NOISE_REACH * share)
    if largest >= 2.0**59:  # then the noise of all devices together stays below MOST_DEVIATION
        raise UserError(
            "no integer of 64 bits holds the sum of so many devices with so much noise: take fewer devices, "
            "or a noise multiplier that is nearer to 1"
        )
    bound = concentrated_bound(share, settings.least_devices, sensitivity, coordinates) if noise else 0.0
    if bound * noise > 1.0 + ROUNDED_APART:
        raise ValueError("shares of noise on so coarse a grid do not add up to a Gaussian's Rényi curve")
    return FixedPoint(settings.sensitivity / steps, sensitivity, share, 32 if largest < 2.0**31 else 64)
