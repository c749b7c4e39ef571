"""FedRAP (Li, Long & Zhou 2024, "Federated recommendation with additive personalization", ICLR).

A score is σ(u · (D_i + C_i) + b). Each device keeps u, b and a table D of its own from round to round; C is
shared: a device steps on its copy, sends it, and the server's next C is the mean of the copies. Beside the
cross-entropy a device descends −λ ‖D − C‖² + μ ‖C‖₁ (equation 2): the two views shall differ, and C be
sparse. λ and μ grow with the rounds, as tanh(round / 10).

Where the paper gives no number, those of the authors' public code for MovieLens 100K are used: ten local
epochs of batches of 2,048, a learning rate of 1e-4 for the score and of 1,000 for both tables, which falls by
5% with every batch and by 3% with every round, λ = .1 and μ = .001, each over the mean of the numbers in a
batch's rows. Its weight decay of 1e-6 is left out.
"""

import math

import numpy as np
import torch
from torch import Tensor

from experiments.personalised.examples import Batch, Integers, Shoppers

BATCH = 2048
EPOCHS = 10
TABLE_RATE = 1e3
BATCH_DECAY = 0.95
ROUND_DECAY = 0.97
DIFFERENCE = 0.1  # λ
SPARSITY = 1e-3  # μ


class FedRAP:
    """All devices in chunks. own: D [devices, items, dim], the largest; table: C [items, dim]."""

    def __init__(
        self, shoppers: Shoppers, *, dim: int, negatives: int, learning_rate: float, start: torch.Generator
    ) -> None:
        self.shoppers = shoppers
        self.each = negatives
        self.learning_rate = learning_rate
        self.table = torch.randn(shoppers.num_items, dim, generator=start)
        # One start for all devices; of the score uniform up to 1/√dim.
        own = torch.randn(shoppers.num_items, dim, generator=start)
        self.own = own.repeat(shoppers.num_devices, 1, 1)
        score = (2 * torch.rand(dim + 1, generator=start) - 1) / dim**0.5
        self.vectors = score[:dim].repeat(shoppers.num_devices, 1)
        self.biases = score[dim].repeat(shoppers.num_devices)

    @property
    def shared_numbers(self) -> int:
        """Sent by a device in a round."""
        return self.table.numel()

    def train_round(self, round: int, generator: np.random.Generator) -> None:
        """The local epochs of every device, and the mean of their copies of C. round: from 1."""
        change = torch.zeros_like(self.table, dtype=torch.float64)
        for devices in self.shoppers.chunks((1 + self.each) * self.table.shape[1]):
            chosen = torch.from_numpy(devices)
            vectors, biases = self.vectors[chosen], self.biases[chosen]
            examples, rows = self.shoppers.draw(devices, self.each, generator).compact()
            start = self.table[rows.items]
            # Of each device the rows that it touches.
            own, tables = rows.spread(self.own[chosen[rows.devices], rows.items]), rows.spread(start)
            # A device with fewer batches takes fewer steps, and its rates fall as often as it steps.
            steps = torch.zeros(len(devices), 1)
            for _ in range(EPOCHS):
                for batch in examples.batches(BATCH, generator):
                    decay = ROUND_DECAY ** (round - 1) * BATCH_DECAY**steps
                    self.step(own, tables, vectors, biases, batch, decay, math.tanh((round - 1) / 10))
                    steps += batch.weights.any(dim=1, keepdim=True)
            self.vectors[chosen], self.biases[chosen] = vectors, biases
            self.own[chosen[rows.devices], rows.items] = rows.gather(own)
            change.index_add_(0, rows.items, (rows.gather(tables) - start).double())
        self.table = (self.table + change / self.shoppers.num_devices).float()

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
        """Descend each device's loss over its batch, in place. decay: of its rates, [devices, 1].

        own, tables: [devices, rows, dim]. Examples of one row have one score, so they are added up first.
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
        own.sub_(moves).add_(apart)
        tables.sub_(moves).sub_(apart).sub_(sparse)
        vectors.sub_(torch.bmm(errors.unsqueeze(1), both).squeeze(1), alpha=self.learning_rate)
        biases.sub_(errors.sum(dim=1), alpha=self.learning_rate)

    def scores(self, devices: Integers) -> Tensor:
        """By each device's own table and the server's: [devices, items]."""
        chosen = torch.from_numpy(devices)
        vectors, scores = self.vectors[chosen], torch.empty(len(chosen), self.shoppers.num_items)
        for start in range(0, len(chosen), 256):
            part = slice(start, start + 256)
            own = torch.bmm(self.own[chosen[part]], vectors[part].unsqueeze(2)).squeeze(2)
            scores[part] = own + vectors[part] @ self.table.T + self.biases[chosen[part]].unsqueeze(1)
        return scores
