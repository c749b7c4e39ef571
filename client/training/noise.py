"""The noise that devices add to a whole update before sending: all of it, or a share of the sum's noise.

DP-SGD adds its noise in every step instead: see opacus_trainer.py for the reference, compiled/sgd_reads.py
and compiled/sgd_kernel.py for what the compiled loop draws, and exact_sum.py for the rest of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from terrycloth.client.training.cohort import Cohort, Trainer
from terrycloth.models.privacy.discrete_gaussian import discrete_normals
from terrycloth.models.privacy.randomness import CHUNK, Purpose, Stream, add_noise
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import STEPS


def group_stream(cohort: Cohort) -> Stream:
    """The stream of noise drawn for all devices of a device group at once, named by the first device."""
    return cohort.stream(int(cohort.devices[0]), 0, Purpose.DEVICE_NOISE)


@dataclass
class LocalNoise:
    """Each of n devices adds noise of deviation σ·C; the noise of their sum is one Gaussian of σ·C·√n."""

    trainer: Trainer
    settings: RoundSettings

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """As `Trainer.train`, with the noise of all devices drawn at once."""
        update, vectors = self.trainer.train(cohort, parameters)
        if self.settings.noise > 0:
            per_device = self.settings.noise * self.settings.sensitivity
            deviation, noise = per_device * len(cohort.devices) ** 0.5, group_stream(cohort)
            update = {name: add_noise(tensor, deviation, noise) for name, tensor in update.items()}
        return update, vectors


@dataclass
class SharedNoise:
    """Each device adds a share of the noise, on integers, so that any `least_devices` shares are enough.

    A sum of discrete Gaussians is nearly a discrete Gaussian (models/privacy/discrete_gaussian.py says how
    nearly), so the shares of all devices of a device group are drawn at once.
    """

    trainer: Trainer
    settings: RoundSettings

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """As `Trainer.train`, with the update as one vector `STEPS` of integers mod 2³² or 2⁶⁴."""
        update, vectors = self.trainer.train(cohort, parameters)
        grid = fixed_point(self.settings, sum(tensor.numel() for tensor in update.values()))
        steps = grid.encode(update)
        if self.settings.noise > 0:
            deviation = grid.share * len(cohort.devices) ** 0.5
            stream = group_stream(cohort)
            for some in steps.split(CHUNK):
                some += torch.from_numpy(discrete_normals(stream, len(some), deviation))
        return {STEPS: grid.wrapped(steps)}, vectors
