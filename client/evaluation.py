"""How well a device is served, counted on the device: the only measurement of accuracy that may leave it.

Each device holds purchases back, its targets, which no training sees. It ranks the whole catalogue for its
shopper and answers with three numbers between 0 and 1: whether it has targets, the share of them that are
among the first ten, and their mean gain 1 / log₂(1 + rank) there. They are noised and booked like any other
release.
"""

import torch
from torch import Tensor

from terrycloth.client.serving import Serving, serving_vectors
from terrycloth.client.training.cohort import Cohort
from terrycloth.models.metrics import gains, ranks_alone
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.update import EVALUATION

FIRST = 10  # places that count
BLOCK_SCORES = 2**24  # scores held at a time


class HitCounter:
    """A `Trainer` that trains nothing: its update is the three sums over the cohort."""

    def __init__(self, model: Recommender, serving: Serving) -> None:
        self.model = model
        self.serving = serving

    @torch.no_grad()
    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """EVALUATION sums [1] each; the vectors are left as they are."""
        self.model.load_shared(parameters)
        sums = torch.zeros(3, dtype=torch.float64)
        block = max(1, BLOCK_SCORES // self.model.num_items)
        for start in range(0, len(cohort.devices), block):
            stop = min(start + block, len(cohort.devices))
            events = cohort.events.span(start, stop)
            scores = self.model.score_catalogue(serving_vectors(self.model, events, self.serving)).clone()
            items = torch.from_numpy(events.items.astype("int64"))
            scores[torch.from_numpy(events.devices), items] = -torch.inf
            targets = cohort.targets.span(start, stop)
            of = torch.from_numpy(targets.devices)
            ranks = ranks_alone(
                torch.nan_to_num(scores, neginf=-torch.inf), of, torch.from_numpy(targets.items)
            )
            counts = torch.from_numpy(targets.counts).double()
            share = 1.0 / counts[of]
            counted = (counts > 0).double(), share * (ranks <= FIRST), share * gains(ranks, FIRST)
            sums += torch.stack([each.sum() for each in counted])
        return {name: total.reshape(1) for name, total in zip(EVALUATION, sums, strict=True)}, cohort.vectors
