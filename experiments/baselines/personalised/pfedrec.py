"""PFedRec (Zhang et al. 2023, "Dual personalization on federated recommendation", IJCAI).

A score is σ(u · v_i + b). In each round a device receives the server's item table. In each batch it first
takes a step on its own u and b and then on its copy of the table ("post-tuning", algorithm 1). The device
keeps u, b and its copy, with which it recommends, and sends the copy. The server's next table is the mean of
the copies.

Where the paper gives no number, this module uses those of the authors' public code: batches of 256, a
learning rate of .1 for the score, and a rate 80 · items times as large for the table, because only a few
examples of a batch contain a given row.
"""

import numpy as np
import torch
from torch import Tensor

from terrycloth.experiments.baselines.personalised.examples import Batch, Integers, Shoppers

BATCH = 256
TABLE_FACTOR = 80


class PFedRec:
    """PFedRec on all devices, trained in chunks.

    A device's copy of the table is discarded after its chunk; the scores by this copy are kept.

    table: the server's, [items, dim]. vectors: [devices, dim]. biases: [devices].
    """

    def __init__(
        self, shoppers: Shoppers, *, dim: int, negatives: int, learning_rate: float, start: torch.Generator
    ) -> None:
        self.shoppers = shoppers
        self.each = negatives
        self.learning_rate = learning_rate
        self.table_rate = learning_rate * TABLE_FACTOR * shoppers.num_items
        self.table = torch.randn(shoppers.num_items, dim, generator=start)
        # All devices start from the same values, which are uniform between ±1/√dim.
        score = (2 * torch.rand(dim + 1, generator=start) - 1) / dim**0.5
        self.vectors = score[:dim].repeat(shoppers.num_devices, 1)
        self.biases = score[dim].repeat(shoppers.num_devices)
        self.latest = torch.zeros(shoppers.num_devices, shoppers.num_items)

    @property
    def shared_numbers(self) -> int:
        """The number of numbers that a device sends per round."""
        return self.table.numel()

    def train_round(self, round: int, generator: np.random.Generator) -> None:
        """Run one local epoch of every device and average the devices' tables."""
        change = torch.zeros_like(self.table, dtype=torch.float64)
        self.latest = torch.addmm(self.biases.unsqueeze(1), self.vectors, self.table.T)
        for devices in self.shoppers.chunks((1 + self.each) * self.table.shape[1]):
            chosen = torch.from_numpy(devices)
            vectors, biases = self.vectors[chosen], self.biases[chosen]
            examples, rows = self.shoppers.draw(devices, self.each, generator).compact()
            start = self.table[rows.items]
            tables = rows.spread(start)  # for each device, the rows of its examples
            for batch in examples.batches(BATCH, generator):
                self.step(tables, vectors, biases, batch)
            self.vectors[chosen], self.biases[chosen] = vectors, biases
            scores = torch.addmm(biases.unsqueeze(1), vectors, self.table.T)
            logits = torch.baddbmm(biases.view(-1, 1, 1), tables, vectors.unsqueeze(2)).squeeze(2)
            scores[rows.devices, rows.items] = rows.gather(logits)
            self.latest[chosen] = scores
            change.index_add_(0, rows.items, (rows.gather(tables) - start).double())
        self.table = (self.table + change / self.shoppers.num_devices).float()

    def step(self, tables: Tensor, vectors: Tensor, biases: Tensor, batch: Batch) -> None:
        """Descend each device's mean cross-entropy in place: one step on the score, then one on the rows."""
        places = rows_of(tables, batch.items)
        rows = tables.flatten(0, 1).index_select(0, places).view(*batch.items.shape, -1)
        errors = cross_entropy_gradient(rows, vectors, biases, batch)
        vectors.sub_(torch.einsum("db,dbk->dk", errors, rows), alpha=self.learning_rate)
        biases.sub_(errors.sum(dim=1), alpha=self.learning_rate)
        errors = cross_entropy_gradient(rows, vectors, biases, batch)
        moves = (errors.unsqueeze(2) * vectors.unsqueeze(1)).flatten(0, 1)
        tables.flatten(0, 1).index_add_(0, places, moves, alpha=-self.table_rate)

    def scores(self, devices: Integers) -> Tensor:
        """Return the scores by each device's own copy of the table after the round: [devices, items]."""
        return self.latest[torch.from_numpy(devices)]


def rows_of(tables: Tensor, items: Tensor) -> Tensor:
    """Return the row indices of items [devices, batch] in flattened tables [devices, items, …].

    The result has the shape [devices · batch].
    """
    return (items + torch.arange(len(items)).unsqueeze(1) * tables.shape[1]).flatten()


def cross_entropy_gradient(rows: Tensor, vectors: Tensor, biases: Tensor, batch: Batch) -> Tensor:
    """Return the gradient of the mean cross-entropy with respect to the logits: [devices, batch].

    rows: [devices, batch, dim].
    """
    logits = torch.einsum("dbk,dk->db", rows, vectors) + biases.unsqueeze(1)
    return (torch.sigmoid(logits) - batch.labels) * batch.weights
