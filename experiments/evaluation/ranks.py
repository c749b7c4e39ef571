"""The ranks of the tested shoppers' targets, from which every metric of accuracy is computed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Devices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """The ranks of all targets. They are private, so they are never part of a result.

    devices: int64 [tested], ascending. shoppers: int64 [targets], the index of each target's shopper in
    devices. alone, together: float64 [targets], ranks in the whole catalogue, 1 is best, as in
    `models.metrics`. sampled: float64 [targets, draws], ranks among 99 sampled negatives. repeated: bool
    [targets], whether bought before. shown: bool [items], whether in any tested shopper's first ten. novelty:
    float64 [tested], the novelty of the first ten.
    """

    devices: Devices
    shoppers: Tensor
    alone: Tensor
    together: Tensor
    sampled: Tensor
    repeated: Tensor
    shown: Tensor
    novelty: Tensor

    def by_shopper(self, values: Tensor) -> Tensor:
        """The mean over each shopper's targets of values [targets, …]: float64 [tested]."""
        if values.dim() > 1:
            values = values.double().mean(dim=1)
        sums = torch.zeros(len(self.devices), dtype=torch.float64)
        return sums.index_add_(0, self.shoppers, values.double()) / self.counts

    @property
    def counts(self) -> Tensor:
        """The number of targets of each shopper: int64 [tested]."""
        return torch.bincount(self.shoppers, minlength=len(self.devices))

    def listed(self, k: int) -> Tensor:
        """The number of each shopper's targets in one list of k, all ranked together: float64 [tested]."""
        return self.by_shopper(self.together <= k) * self.counts

    def average_precision(self, k: int) -> Tensor:
        """The average precision of each shopper's one list of k: float64 [tested].

        This is the sum of the precisions at the places of the targets in the list, over as many targets as
        fit (Manning, Raghavan & Schütze 2008, "Introduction to information retrieval", section 8.4).
        """
        order = np.lexsort((self.together.numpy(), self.shoppers.numpy()))
        ranks, shoppers = self.together[order], self.shoppers[order]
        starts = torch.cumsum(self.counts, 0) - self.counts
        targets_so_far = torch.arange(1, len(ranks) + 1) - starts[shoppers]
        precision = torch.where(ranks <= k, targets_so_far / ranks, 0.0)
        sums = torch.zeros(len(self.devices), dtype=torch.float64).index_add_(0, shoppers, precision)
        return sums / self.counts.clamp(max=k)

    def only(self, mask: Tensor) -> Tensor:
        """HR@10 of the targets where mask [targets] is true, for each shopper with such a target."""
        counts = torch.bincount(self.shoppers[mask], minlength=len(self.devices))
        hits = torch.bincount(
            self.shoppers[mask], (self.alone[mask] <= 10).double(), minlength=len(self.devices)
        )
        return (hits / counts)[counts > 0]
