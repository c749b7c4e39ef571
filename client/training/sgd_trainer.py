"""Plain SGD on one device after the other, with batches and negatives from each device's own streams.

An example is one interaction and the negatives drawn for it. Steps, sampling rate and reduction (a sum) are
the same constants on every device, whatever it holds. A batch is processed in chunks, so that memory does not
grow with the batch. `OpacusTrainer` adds clipping and noise.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import Tensor, nn

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort, precision_of
from terrycloth.models.privacy.randomness import Purpose, Stream
from terrycloth.models.recommenders.recommender import Parameters, Recommender, interaction_loss
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import released_update

CHUNK = 2**22  # approximate size, in numbers, of the largest array for one chunk of interactions

Batch = Iterator[tuple[Tensor, Tensor]]  # candidates [chunk, 1 + negatives], the positive first; weights


class KeyedPoissonSampler(UniformWithReplacementSampler):
    """Opacus's Poisson sampler with sampling draws from a device's stream, one per step and interaction."""

    def __init__(self, num_samples: int, sample_rate: float, steps: int, cohort: Cohort, device: int) -> None:
        super().__init__(num_samples=num_samples, sample_rate=sample_rate, steps=steps)
        self.cohort = cohort
        self.device = device

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.steps):
            draws = self.cohort.stream(self.device, step, Purpose.BATCH).uniforms(self.num_samples)
            yield np.flatnonzero(draws < self.sample_rate).tolist()


class SgdTrainer:
    """Trains a cohort device by device; `trainer.Trainer` documents the shapes."""

    def __init__(self, model: Recommender, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings
        self.module: nn.Module = model
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """Every device starts from the same shared parameters and its own vector.

        Updates are summed in double precision, so that the order of the devices does not show.
        """
        total = {
            name: torch.zeros_like(tensor, dtype=torch.float64)
            for name, tensor in released_update(self.settings, parameters).items()
        }
        vectors = torch.empty_like(cohort.vectors)
        for place, device in enumerate(cohort.devices.tolist()):
            self.model.load_shared(parameters)
            with torch.no_grad():
                self.model.shopper.weight.copy_(cohort.vectors[place])
            self.train_device(cohort, device, cohort.events.span(place, place + 1))
            vectors[place] = self.model.shopper.weight.detach()[0]
            trained = self.model.shared_parameters()
            update = self.released(
                {name: trained[name].double() - start for name, start in parameters.items()}
            )
            for name, part in update.items():
                total[name] += part
        return {name: tensor.to(precision_of(self.settings)) for name, tensor in total.items()}, vectors

    def released(self, update: Parameters) -> Parameters:
        """The part of a device's update that goes into the sum: here, all of it."""
        return update

    def train_device(self, cohort: Cohort, device: int, events: Events) -> None:
        """Take all steps of one device. A device without events takes the same steps, on empty batches."""
        settings = self.settings
        batches: Iterator[list[int]] = iter([[]] * settings.steps_per_round)
        if len(events):  # Opacus's sampler needs at least one event
            steps, rate = settings.steps_per_round, settings.sampling_rate
            batches = iter(KeyedPoissonSampler(len(events), rate, steps, cohort, device))
        for step, batch in enumerate(batches):
            negatives = cohort.stream(device, step, Purpose.NEGATIVES)
            chunks = self.chunks(events, batch, negatives)
            self.step(chunks, cohort.stream(device, step, Purpose.NOISE))

    def chunks(self, events: Events, batch: list[int], negatives: Stream) -> Batch:
        """Yield the events of a batch with negatives, in chunks whose size depends on public numbers only."""
        count = self.settings.negatives
        for start in range(0, len(batch), self.chunk):
            part = batch[start : start + self.chunk]
            drawn = negatives.integers(len(part) * count, self.model.num_items).reshape(len(part), count)
            candidates = np.concatenate([events.items[part, None].astype(np.int64), drawn], axis=1)
            weights = np.log2(1.0 + events.weights[part])
            yield torch.from_numpy(candidates), torch.from_numpy(weights).float()

    @cached_property
    def chunk(self) -> int:
        """Number of interactions that are processed at a time."""
        return max(1, CHUNK // self.numbers_of_example)

    @property
    def numbers_of_example(self) -> int:
        """About how many numbers the largest array holds for one interaction: its candidates' vectors."""
        return (1 + self.settings.negatives) * self.model.dim

    def step(self, batch: Batch, noise: Stream) -> None:
        """One step on a batch."""
        self.optimizer.zero_grad(set_to_none=True)
        for candidates, weights in batch:
            self.summed_loss(candidates, weights).backward()
        self.optimizer.step()

    def summed_loss(self, candidates: Tensor, weights: Tensor) -> Tensor:
        """Sum of the losses. A mean would divide by the private number of events."""
        scores = self.module(candidates)
        return interaction_loss(scores, weights, self.settings.negative_weight, self.model.loss).sum()
