"""SGD and DP-SGD of a factorisation for all devices of a cohort at once; `OpacusTrainer` is its reference.

Coins, batches and negatives are the reference's, draw by draw, and so are the updates without noise. With it
they have the same distribution: client/sgd_kernel.py says which noise is drawn when.
"""

import math

import numpy as np
import torch
from torch import Tensor

from client.cohort_sum import noised, step_deviation, unit_of
from client.compiled_streams import key_words
from client.sgd_kernel import Bags, Schedule, histories_of, train_devices
from client.threads import threads_for
from client.trainer import Cohort
from models.factorisation import Factorisation
from models.recommender import Parameters
from models.settings import ROUNDING, RoundSettings
from models.update import BELOW_CLIP


class CohortTrainer:
    """A cohort at once, in memory that grows with the model and with the events, never with their product.

    Interactions are clipped and noised at interaction level, whole updates are clipped at shopper level.
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
        """What the kernel is told of the settings."""
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
            unit=unit_of(settings),
        )

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """`Trainer.train`."""
        events, schedule = cohort.events, self.schedule
        has_bias = self.model.bias is not None
        bags = Bags(
            parameters["table.weight"].numpy(),
            parameters["bias.weight"].numpy().reshape(-1) if has_bias else np.empty(0, np.float32),
            self.bag_offsets,
            self.bag_rows,
        )
        histories = histories_of(cohort.devices, events)
        vectors = cohort.vectors.clone()
        with threads_for(histories.offsets) as edges:
            table, bias, rows_drawn, biases_drawn, clipped = train_devices(
                bags,
                schedule,
                key_words(cohort.key),
                cohort.question,
                histories,
                vectors.numpy(),
                edges,
                int(events.counts.max(initial=0)),
            )
        update = {"table.weight": self.noised(cohort, table, rows_drawn[:, None], 0)}
        if has_bias:
            update["bias.weight"] = self.noised(cohort, bias[:, None], biases_drawn[:, None], 1)
        if self.settings.adapts_clip:
            below, above = clipped
            update[BELOW_CLIP] = torch.tensor([self.settings.indicator * 0.5 * float(below - above)])
        return update, vectors

    def noised(self, cohort: Cohort, units: np.ndarray, drawn: np.ndarray, part: int) -> Tensor:
        """`cohort_sum.noised` of a sum in units."""
        return noised(units * self.schedule.unit, drawn, part, cohort, self.settings)
