"""Where each target of each tested shopper came: what every metric of accuracy is found from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Devices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """Where each target came: private, so never a part of a result.

    devices: int64 [tested], ascending. shoppers: int64 [targets], which of the tested a target is of. alone,
    together: float64 [targets], 1 the best, over the whole catalogue, as in `models.metrics`. sampled:
    float64 [targets, draws], among 99 negatives. repeated: bool [targets], bought before. shown: bool
    [items], in somebody's first ten. novelty: float64 [tested], of the first ten.
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
        """How many targets each shopper has: int64 [tested]."""
        return torch.bincount(self.shoppers, minlength=len(self.devices))

    def listed(self, k: int) -> Tensor:
        """How many of its targets each shopper finds in its one list of k: float64 [tested]."""
        return self.by_shopper(self.together <= k) * self.counts

    def average_precision(self, k: int) -> Tensor:
        """Of each shopper's one list of k: float64 [tested].

        Σ of the precision at the place of each target that is in the list, over as many targets as fit
        (Manning, Raghavan & Schütze 2008, "Introduction to information retrieval", section 8.4).
        """
        order = np.lexsort((self.together.numpy(), self.shoppers.numpy()))
        ranks, shoppers = self.together[order], self.shoppers[order]
        starts = torch.cumsum(self.counts, 0) - self.counts
        found_by_then = torch.arange(1, len(ranks) + 1) - starts[shoppers]
        precision = torch.where(ranks <= k, found_by_then / ranks, 0.0)
        sums = torch.zeros(len(self.devices), dtype=torch.float64).index_add_(0, shoppers, precision)
        return sums / self.counts.clamp(max=k)

    def only(self, mask: Tensor) -> Tensor:
        """HR@10 of the targets where mask [targets] is true: of each shopper that has one."""
        counts = torch.bincount(self.shoppers[mask], minlength=len(self.devices))
        hits = torch.bincount(
            self.shoppers[mask], (self.alone[mask] <= 10).double(), minlength=len(self.devices)
        )
        return (hits / counts)[counts > 0]
