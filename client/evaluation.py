"""Evaluation on the devices: the only measurement of accuracy that may leave a device.

Each device has held-out purchases, its targets, which training never sees. It ranks the whole catalogue for
its shopper and replies with three numbers between 0 and 1: whether it has targets, the share of its targets
that rank among the first ten, and their mean gain, which is 1 / log₂(1 + rank) among the first ten and 0
below. These numbers are noised and recorded in the ledger like any other release.
"""

import torch
from torch import Tensor

from terrycloth.client.serving import Serving, serving_vectors
from terrycloth.client.training.cohort import Cohort
from terrycloth.models.metrics import gains, ranks_alone
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.update import EVALUATION

FIRST = 10  # a target is a hit if its rank is at most this
BLOCK_SCORES = 2**24  # scores held in memory at a time


class HitCounter:
    """A `Trainer` that trains nothing: its update holds the three sums over the cohort."""

    def __init__(self, model: Recommender, serving: Serving) -> None:
        self.model = model
        self.serving = serving

    @torch.no_grad()
    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """Return the sums that EVALUATION names, each of shape [1], and the unchanged vectors."""
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
            target_devices = torch.from_numpy(targets.devices)
            ranks = ranks_alone(
                torch.nan_to_num(scores, neginf=-torch.inf), target_devices, torch.from_numpy(targets.items)
            )
            counts = torch.from_numpy(targets.counts).double()
            share = 1.0 / counts[target_devices]
            numbers = (counts > 0).double(), share * (ranks <= FIRST), share * gains(ranks, FIRST)
            sums += torch.stack([each.sum() for each in numbers])
        return {name: total.reshape(1) for name, total in zip(EVALUATION, sums, strict=True)}, cohort.vectors
