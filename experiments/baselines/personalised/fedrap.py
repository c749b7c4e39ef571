"""FedRAP (Li, Long & Zhou 2024, "Federated recommendation with additive personalization", ICLR).

A score is σ(u · (D_i + C_i) + b). Each device keeps u, b and its own table D from round to round. The table C
is shared: a device takes its steps on a copy and sends the copy, and the server's next C is the mean of the
copies. In addition to the cross-entropy, a device minimises −λ ‖D − C‖² + μ ‖C‖₁ (equation 2), which keeps
the two tables different and C sparse. λ and μ grow with the number of earlier rounds, as tanh(rounds / 10).

Where the paper gives no number, this module uses those with which the authors' own log reaches the published
level on MovieLens 100K (issue 1 of github.com/mtics/FedRAP): ten local epochs with batches of 2,048; a
learning rate of .5 for the score and of 200 for both tables, reduced by 5% with every batch and by 3% with
every round; a weight decay of 1e-4; λ = μ = .1, where both terms are means over the numbers in a batch's
rows. The result depends on these numbers: with too little weight decay D and C drive each other apart without
bound.
"""

import math

import numpy as np
import torch
from torch import Tensor

from terrycloth.experiments.baselines.personalised.examples import Batch, Integers, Shoppers

BATCH = 2048
EPOCHS = 10
TABLE_RATE = 200.0
BATCH_DECAY = 0.95
ROUND_DECAY = 0.97
WEIGHT_DECAY = 1e-4
DIFFERENCE = 0.1  # λ
SPARSITY = 0.1  # μ


class FedRAP:
    """FedRAP on all devices, trained in chunks.

    own: D [devices, items, dim], the largest tensor. table: C [items, dim].
    """

    def __init__(
        self, shoppers: Shoppers, *, dim: int, negatives: int, learning_rate: float, start: torch.Generator
    ) -> None:
        self.shoppers = shoppers
        self.each = negatives
        self.learning_rate = learning_rate
        self.table = torch.randn(shoppers.num_items, dim, generator=start)
        # All devices start from the same values; those of the score are uniform between ±1/√dim.
        own = torch.randn(shoppers.num_items, dim, generator=start)
        self.own = own.repeat(shoppers.num_devices, 1, 1)
        score = (2 * torch.rand(dim + 1, generator=start) - 1) / dim**0.5
        self.vectors = score[:dim].repeat(shoppers.num_devices, 1)
        self.biases = score[dim].repeat(shoppers.num_devices)

    @property
    def shared_numbers(self) -> int:
        """The number of numbers that a device sends per round."""
        return self.table.numel()

    def train_round(self, round: int, generator: np.random.Generator) -> None:
        """Run every device's local epochs and average the devices' copies of C. round: counted from 1."""
        total = torch.zeros_like(self.table, dtype=torch.float64)  # the sum of the copies
        held = self.shoppers.counts > 0
        total += self.table * float((~held).sum())  # a device without events takes no step
        for devices in self.shoppers.chunks((1 + self.each) * self.table.shape[1]):
            chosen = torch.from_numpy(devices)
            vectors, biases = self.vectors[chosen], self.biases[chosen]
            examples, rows = self.shoppers.draw(devices, self.each, generator).compact()
            start = self.table[rows.items]
            # Each device works only on the rows of its examples.
            own, tables = rows.spread(self.own[chosen[rows.devices], rows.items]), rows.spread(start)
            # A device with fewer batches takes fewer steps, and its learning rates decay once per step.
            steps, kept = torch.zeros(len(devices), 1), torch.ones(len(devices), 1)
            for _ in range(EPOCHS):
                for batch in examples.batches(BATCH, generator):
                    takes = batch.weights.any(dim=1, keepdim=True)
                    decay = takes * ROUND_DECAY ** (round - 1) * BATCH_DECAY**steps
                    self.step(own, tables, vectors, biases, batch, decay, math.tanh((round - 1) / 10))
                    steps += takes
                    kept *= 1.0 - TABLE_RATE * WEIGHT_DECAY * decay
            self.vectors[chosen], self.biases[chosen] = vectors, biases
            # The other rows change only by the weight decay.
            self.own[chosen] *= kept.unsqueeze(2)
            self.own[chosen[rows.devices], rows.items] = rows.gather(own)
            total += self.table * float(kept.sum())
            total.index_add_(0, rows.items, (rows.gather(tables) - kept[rows.devices] * start).double())
        self.table = (total / self.shoppers.num_devices).float()

    def step(
        self,
        own: Tensor,
        tables: Tensor,
        vectors: Tensor,
        biases: Tensor,
        batch: Batch,
        decay: Tensor,
        curriculum: float,
    ) -> None:
        """Take one gradient step on each device's loss over its batch, in place.

        own, tables: [devices, rows, dim]. decay: the factor of each device's learning rates, [devices, 1]; 0
        means no step. curriculum: the factor of λ and μ. Examples of the same row have the same score, so
        they are added up first.
        """
        summed = torch.zeros(own.shape[:2])
        weights = summed.scatter_add(1, batch.items, batch.weights)  # [devices, rows]
        positive = summed.scatter_add(1, batch.items, batch.weights * batch.labels)
        both = own + tables
        logits = torch.bmm(both, vectors.unsqueeze(2)).squeeze(2) + biases.unsqueeze(1)
        errors = decay * (weights * torch.sigmoid(logits) - positive)
        by_number = curriculum * decay * weights / own.shape[2]
        apart = torch.sub(own, tables).mul_((2.0 * DIFFERENCE * TABLE_RATE * by_number).unsqueeze(2))
        sparse = tables.sign().mul_((SPARSITY * TABLE_RATE * by_number).unsqueeze(2))
        moves = (TABLE_RATE * errors).unsqueeze(2) * vectors.unsqueeze(1)
        keep = 1.0 - TABLE_RATE * WEIGHT_DECAY * decay.unsqueeze(2)
        own.mul_(keep).sub_(moves).add_(apart)
        tables.mul_(keep).sub_(moves).sub_(apart).sub_(sparse)
        keep = 1.0 - self.learning_rate * WEIGHT_DECAY * decay
        vectors.mul_(keep).sub_(torch.bmm(errors.unsqueeze(1), both).squeeze(1), alpha=self.learning_rate)
        biases.mul_(keep.squeeze(1)).sub_(errors.sum(dim=1), alpha=self.learning_rate)

    def scores(self, devices: Integers) -> Tensor:
        """Return the scores by each device's own table and the shared table: [devices, items]."""
        chosen = torch.from_numpy(devices)
        vectors, scores = self.vectors[chosen], torch.empty(len(chosen), self.shoppers.num_items)
        for start in range(0, len(chosen), 256):
            part = slice(start, start + 256)
            own = torch.bmm(self.own[chosen[part]], vectors[part].unsqueeze(2)).squeeze(2)
            scores[part] = own + vectors[part] @ self.table.T + self.biases[chosen[part]].unsqueeze(1)
        return scores
