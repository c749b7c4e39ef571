"""The reference: DP-SGD on one device after the other, by Opacus (Abadi et al. 2016, algorithm 1).

An example is one interaction and the negatives drawn for it. Its gradient, the shopper's vector included, is
clipped to norm C; Gaussian noise of standard deviation σ·C covers every coordinate; steps, sampling rate and
reduction (a sum) are the same constants on every device. Noise 0 and an infinite clip give plain SGD.

Opacus brings the per-sample gradients, the clip, the optimizer and the Poisson sampler; only the source of
their randomness is replaced, by the device's keyed streams.
"""

from collections.abc import Iterator

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import Tensor

from client.events import Events
from client.trainer import Cohort
from models.randomness import Purpose, Stream
from models.recommender import Parameters, Recommender, interaction_loss
from models.settings import RoundSettings


class KeyedPoissonSampler(UniformWithReplacementSampler):
    """Opacus's Poisson sampler with coins from a device's stream: one a step and interaction."""

    def __init__(self, num_samples: int, sample_rate: float, steps: int, cohort: Cohort, device: int) -> None:
        super().__init__(num_samples=num_samples, sample_rate=sample_rate, steps=steps)
        self.cohort = cohort
        self.device = device

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.steps):
            coins = _stream(self.cohort, self.device, step, Purpose.BATCH).uniforms(self.num_samples)
            yield np.flatnonzero(coins < self.sample_rate).tolist()


class KeyedDPOptimizer(DPOptimizer):
    """Opacus's optimizer with noise from a device's stream, added in double and rounded once to single."""

    noise: Stream

    def add_noise(self) -> None:
        """Noise σ·C on every coordinate of every parameter, touched or not."""
        deviation = self.noise_multiplier * self.max_grad_norm if self.noise_multiplier else 0.0
        for parameter in self.params:
            summed = parameter.summed_grad
            if deviation:
                drawn = torch.from_numpy(self.noise.normals(summed.numel())).view_as(summed)
                summed = (summed.double() + deviation * drawn).float()
            parameter.grad = summed.view_as(parameter)


class OpacusTrainer:
    """Trains a cohort device by device; `trainer.train` has the shapes."""

    def __init__(self, model: Recommender, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings
        self.module = GradSampleModule(model, loss_reduction="sum")
        self.optimizer = KeyedDPOptimizer(
            torch.optim.SGD(self.module.parameters(), lr=settings.learning_rate),
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=settings.clip,
            expected_batch_size=None,
            loss_reduction="sum",
        )

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """Sums in double precision, so that the order of devices does not show."""
        total = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in parameters.items()}
        vectors = torch.empty_like(cohort.vectors)
        for place, device in enumerate(cohort.devices.tolist()):
            self.model.load_shared(parameters)
            with torch.no_grad():
                self.model.shopper.weight.copy_(cohort.vectors[place])
            self.train_device(cohort, device, cohort.events.span(place, place + 1))
            vectors[place] = self.model.shopper.weight.detach()[0]
            for name, trained in self.model.shared_parameters().items():
                total[name] += trained.double() - parameters[name]
        return {name: tensor.float() for name, tensor in total.items()}, vectors

    def train_device(self, cohort: Cohort, device: int, events: Events) -> None:
        """All steps of one device. One with no events takes the same steps, of noise alone."""
        settings = self.settings
        items = torch.from_numpy(events.items.astype(np.int64))
        weights = torch.from_numpy(np.log2(1.0 + events.weights)).float()
        batches: Iterator[list[int]] = iter([[]] * settings.steps_per_round)
        if len(events):
            batches = iter(
                KeyedPoissonSampler(
                    len(events), settings.sampling_rate, settings.steps_per_round, cohort, device
                )
            )
        for step, batch in enumerate(batches):
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.noise = _stream(cohort, device, step, Purpose.NOISE)
            if batch:
                drawn = _stream(cohort, device, step, Purpose.NEGATIVES).integers(
                    len(batch) * settings.negatives, self.model.num_items
                )
                negatives = torch.from_numpy(drawn).view(len(batch), settings.negatives)
                candidates = torch.cat(
                    [items[batch].unsqueeze(1), negatives], dim=1
                )  # [batch, 1 + negatives]
                losses = interaction_loss(
                    self.module(candidates), weights[batch], settings.negative_weight, self.model.loss
                )
                losses.sum().backward()
            else:
                for parameter in self.optimizer.params:
                    parameter.grad_sample = torch.zeros(0, *parameter.shape)
            self.optimizer.step()


def _stream(cohort: Cohort, device: int, step: int, purpose: Purpose) -> Stream:
    return Stream(cohort.key, device=device, round=cohort.question, step=step, purpose=purpose)
