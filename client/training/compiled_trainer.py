"""SGD and DP-SGD of a factorisation for all devices of a cohort at once; `OpacusTrainer` is its reference.

Sampling draws, batches and negatives are the same as the reference's, draw by draw, and so are the updates
without noise. With noise, the updates have the same distribution: client/training/compiled/sgd_kernel.py
explains which noise is drawn when.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.compiled.compiled_streams import key_words
from terrycloth.client.training.compiled.sgd_kernel import (
    Bags,
    Schedule,
    histories_of,
    room_for,
    train_devices,
)
from terrycloth.client.training.compiled.threads import threads_for
from terrycloth.client.training.exact_sum import grid_step, noised, step_deviation
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import ROUNDING, RoundSettings
from terrycloth.models.update import BELOW_CLIP


class CompiledTrainer:
    """Trains a cohort at once. Memory depends on public numbers, apart from a few numbers per event.

    At interaction level each interaction is clipped and each step is noised; at shopper level each whole
    update is clipped.
    """

    def __init__(self, model: Factorisation, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings
        incidence = model.incidence.coalesce().indices().numpy()  # in order of items
        counts = np.bincount(incidence[0], minlength=model.num_items)
        self.bag_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.bag_rows = incidence[1].astype(np.uint32)

    @property
    def schedule(self) -> Schedule:
        """The settings that the kernel needs."""
        settings = self.settings
        by_interaction = settings.unit == "interaction"
        return Schedule(
            steps=settings.steps_per_round,
            sampling_rate=settings.sampling_rate,
            negatives=settings.negatives,
            negative_weight=settings.negative_weight,
            learning_rate=settings.learning_rate,
            example_clip=ROUNDING * settings.clip if by_interaction else math.inf,
            device_clip=math.inf if by_interaction else ROUNDING * settings.clip,
            deviation=step_deviation(settings),
            unit=grid_step(settings),
        )

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """As `Trainer.train`."""
        vectors = cohort.vectors.clone()
        table, bias, rows_drawn, biases_drawn, clipped = self.sums(cohort, parameters, vectors)
        update = {"table.weight": self.noised(cohort, table, rows_drawn[:, None], 0)}
        if self.model.bias is not None:
            update["bias.weight"] = self.noised(cohort, bias[:, None], biases_drawn[:, None], 1)
        if self.settings.adapts_clip:
            below, above = clipped[:2]
            counted = [self.settings.indicator * 0.5 * float(below - above)]
            update[BELOW_CLIP] = torch.tensor(counted, dtype=torch.float64)
        return update, vectors

    def sums(self, cohort: Cohort, parameters: Parameters, vectors: Tensor) -> list[npt.NDArray[np.float64]]:
        """Return the arrays of `sgd_kernel.Sums`, added up over all threads; train the vectors in place."""
        has_bias = self.model.bias is not None
        bags = Bags(
            parameters["table.weight"].numpy(),
            parameters["bias.weight"].numpy().reshape(-1) if has_bias else np.empty(0, np.float32),
            self.bag_offsets,
            self.bag_rows,
        )
        histories = histories_of(cohort.devices, cohort.events)
        longest = int(cohort.events.counts.max(initial=0))
        with threads_for(histories.offsets) as edges:
            room = room_for(len(edges) - 1, bags, self.settings.negatives, longest)
            train_devices(
                bags,
                self.schedule,
                key_words(cohort.key),
                cohort.query,
                histories,
                vectors.numpy(),
                edges,
                *room,
            )
        for part in room[-1]:
            for other in part[1:]:
                part[0] += other  # in place, because a copy would be as large as the model
        return [part[0] for part in room[-1]]

    def noised(self, cohort: Cohort, units: np.ndarray, drawn: np.ndarray, part: int) -> Tensor:
        """As `exact_sum.noised`."""
        return noised(units, drawn, part, cohort, self.settings)
