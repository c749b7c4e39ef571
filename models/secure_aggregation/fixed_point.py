"""Updates as integers mod 2³² or 2⁶⁴, which secure aggregation adds up, with room for the sum of all devices.

An update is rounded to multiples of a public step. Rounding moves each coordinate by at most half a step. So
the sensitivity in steps is that of the clip plus √d for d coordinates, because two neighbouring sums are
rounded separately.
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

NOISE_REACH = 10.0  # in deviations; a draw of noise lies further out with probability 2·10⁻²³
BOUND_TOLERANCE = 1e-12  # tolerance between two ways to compute one bound


@dataclass(frozen=True)
class FixedPoint:
    """The grid on which a round's updates are rounded.

    step: distance between grid points. sensitivity: in steps. share: the deviation of one device's noise, in
    steps. width: bits of an integer, 32 or 64.
    """

    step: float
    sensitivity: float
    share: float
    width: int

    def encode(self, update: Parameters) -> Tensor:
        """Return all arrays, in order of their names, as one vector of steps: int64 [coordinates]."""
        parts = [update[name].double().reshape(-1) for name in sorted(update)]
        steps = torch.empty(sum(map(len, parts)), dtype=torch.int64)
        for part, into in zip(parts, steps.split([*map(len, parts)]), strict=True):
            for chunk, into_chunk in zip(part.split(CHUNK), into.split(CHUNK), strict=True):
                into_chunk.copy_(torch.round(chunk / self.step))
        return steps

    def wrapped(self, steps: Tensor) -> Tensor:
        """Reduce int64 steps mod 2^width, as signed integers of that width."""
        return steps if self.width == 64 else steps.to(torch.int32)

    def decode(self, total: Tensor, like: Parameters) -> Parameters:
        """Return a sum of `wrapped` vectors as float64 arrays with the names and shapes of `like`."""
        flat = total.to(torch.int64).double() * self.step
        parts = flat.split([like[name].numel() for name in sorted(like)])
        return {name: part.reshape(like[name].shape) for name, part in zip(sorted(like), parts, strict=True)}


def fixed_point(settings: RoundSettings, coordinates: int) -> FixedPoint:
    """Return the grid of a round's updates; devices and server compute the same one.

    It depends on public numbers only. It is fine enough that rounding adds at most 1/64 to the sensitivity,
    and that one device's share of the noise is at least LEAST_DEVIATION steps. It is wide enough that the sum
    of all devices, each at its clip and with noise as far out as NOISE_REACH, stays within half the range. So
    no sum wraps around; one that did would be wrong, but no less private.

    Raises UserError if no width is large enough, and ValueError if the shares add up to less noise than is
    accounted for.
    """
    noise, root_least = settings.noise, math.sqrt(settings.least_devices)
    finest = max(64.0 * math.sqrt(coordinates), 2.0 * LEAST_DEVIATION * root_least / noise if noise else 0.0)
    steps = 2.0 ** math.ceil(math.log2(finest))
    # A device group's sums are in single precision: rounding moves them by at most 2⁻²³ of their norm.
    sensitivity = steps * (1.0 + 2.0**-23 * settings.devices) + math.sqrt(coordinates)
    share = noise * sensitivity / root_least
    largest = settings.devices * (steps + 1.0 + NOISE_REACH * share)
    if largest >= 2.0**59:  # below it, the noise of all devices is under MOST_DEVIATION
        raise UserError(
            "64-bit integers cannot hold the sum of so many devices with so much noise: use fewer devices, "
            "or a noise multiplier nearer to 1"
        )
    bound = concentrated_bound(share, settings.least_devices, sensitivity, coordinates) if noise else 0.0
    if bound * noise > 1.0 + BOUND_TOLERANCE:
        raise ValueError("on so coarse a grid, the shares of noise do not add up to a Gaussian's Rényi curve")
    return FixedPoint(settings.sensitivity / steps, sensitivity, share, 32 if largest < 2.0**31 else 64)
