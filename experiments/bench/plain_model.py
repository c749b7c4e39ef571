"""Matrix factorisation as it is usually written in torch: the model that the other tools train.

Its scores and loss are those of `recommenders.factorisation` on a catalogue without attributes (a test checks
this), without the cost of attributes there. It is one shopper's model: vector [1, dim], table [items, dim]
and bias [items, 1].
"""

from typing import cast

import torch
from torch import Tensor, nn

from terrycloth.experiments.bench.workload import Workload
from terrycloth.models.recommenders.recommender import Parameters


class PlainFactorisation(nn.Module):
    """The model score(i) = x · table_i + bias_i. sparse: whether gradients hold only the rows read."""

    def __init__(self, items: int, dim: int, negative_weight: float, *, sparse: bool = False) -> None:
        super().__init__()
        self.shopper = nn.Embedding(1, dim)
        self.table = nn.Embedding(items, dim, sparse=sparse)
        self.bias = nn.Embedding(items, 1, sparse=sparse)
        self.negative_weight = negative_weight

    def forward(self, candidates: Tensor) -> Tensor:
        """Return the scores of candidates, both [batch, 1 + negatives]. Candidates are int64."""
        vector = self.shopper(torch.zeros(len(candidates), dtype=torch.int64))  # [batch, dim]
        rows = self.table(candidates)  # [batch, 1 + negatives, dim]
        return cast(Tensor, torch.einsum("bd,bcd->bc", vector, rows) + self.bias(candidates).squeeze(-1))

    def summed_loss(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Sum the loss over the batch.

        An example's loss is the weighted squared error of the first candidate against 1, plus the mean
        squared score of the other candidates times `negative_weight`.
        """
        bought = weights * (scores[:, 0] - 1.0).square()
        return (bought + self.negative_weight * scores[:, 1:].square().mean(dim=1)).sum()

    def load(self, parameters: Parameters, vector: Tensor) -> None:
        """Copy the server's parameters and the shopper's own vector [dim] into the model."""
        with torch.no_grad():
            self.table.weight.copy_(parameters["table.weight"])
            self.bias.weight.copy_(parameters["bias.weight"])
            self.shopper.weight.copy_(vector)


def plain_model(workload: Workload) -> PlainFactorisation:
    """Build the model with the workload's shape."""
    settings = workload.settings
    return PlainFactorisation(workload.num_items, settings.dim, settings.negative_weight)


def with_negatives(items: Tensor, negatives: int, num_items: int) -> Tensor:
    """Return candidates [batch, 1 + negatives]: items [batch], then draws by torch from all items."""
    drawn = torch.randint(num_items, (len(items), negatives))
    return torch.cat([items.unsqueeze(1), drawn], dim=1)


def interactions(workload: Workload, place: int) -> tuple[Tensor, Tensor]:
    """Return one device's items (int64 [events]) and the weights of their losses (float32 [events])."""
    events = workload.cohort.events.span(place, place + 1)
    return torch.from_numpy(events.items).long(), torch.log2(1.0 + torch.from_numpy(events.weights))
