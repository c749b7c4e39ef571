"""Accuracy on held-out items, measured by the simulator: nothing here is released by a device."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from client.evaluation import BLOCK_SCORES, NONE
from client.events import Events
from experiments.split import Split
from models.metrics import coverage, held_out_rank, hit_rate, mean_reciprocal_rank, ndcg

Devices = npt.NDArray[np.int64]
Metrics = dict[str, dict[str, float]]
Scorer = Callable[[Events], Tensor]  # events of some devices → scores [devices, items]
DeviceScorer = Callable[[Devices], Tensor]  # numbers of some devices → the same


@dataclass(frozen=True)
class Ranks:
    """Where each tested shopper's held-out item came: private, so never a part of a result.

    devices: int64 [tested], in order. full, sampled: float [tested], 1 the best, in the whole catalogue
    without what the shopper has, and among 99 negatives. shown: bool [items], in somebody's first ten.
    """

    devices: Devices
    full: Tensor
    sampled: Tensor
    shown: Tensor

    def metrics(self) -> Metrics:
        """HR@10, NDCG@10, MRR and coverage over the whole catalogue; HR@10, NDCG@10 against 99 negatives.

        With nobody to test, every metric is NaN.
        """
        return {
            "full": {
                "hr@10": hit_rate(self.full, 10),
                "ndcg@10": ndcg(self.full, 10),
                "mrr": mean_reciprocal_rank(self.full),
                "coverage@10": float(self.shown.double().mean()),
            },
            "sampled99": {"hr@10": hit_rate(self.sampled, 10), "ndcg@10": ndcg(self.sampled, 10)},
        }


def evaluate(scorer: Scorer, split: Split, num_items: int, *, sample: int = 0) -> Metrics:
    """The metrics of `rank_held_out`, of a model that scores by a shopper's training events alone."""
    return rank_held_out(by_events(scorer, split), split, num_items, sample=sample).metrics()


def by_events(scorer: Scorer, split: Split) -> DeviceScorer:
    """Scores by the devices' training events, and by nothing else of theirs."""
    return lambda devices: scorer(split.train.take(devices))


def rank_held_out(score: DeviceScorer, split: Split, num_items: int, *, sample: int = 0) -> Ranks:
    """Rank each tested shopper's held-out item.

    Items in a shopper's training events are not ranked. sample: test at most so many shoppers, a fixed random
    choice; 0: all. Raises ValueError where a score is NaN.
    """
    tested = split.tested(sample)
    full, sampled = [torch.empty(0)], [torch.empty(0)]
    shown = torch.zeros(num_items, dtype=torch.bool)
    block = max(1, BLOCK_SCORES // num_items)
    for start in range(0, len(tested), block):
        devices = tested[start : start + block]
        events = split.train.take(devices)
        held_out = torch.from_numpy(split.held_out[devices])
        scores = score(devices)
        sampled.append(sampled_rank(scores, held_out, torch.from_numpy(split.negatives_of(devices))))
        scores = scores.clone()
        scores[torch.from_numpy(events.devices), torch.from_numpy(events.items.astype(np.int64))] = -torch.inf
        full.append(held_out_rank(scores, held_out))
        shown |= coverage(scores, 10)
    return Ranks(tested, torch.cat(full), torch.cat(sampled), shown)


def sampled_rank(scores: Tensor, held_out: Tensor, negatives: Tensor) -> Tensor:
    """Rank [devices] of the held-out item among its negatives [devices, 99], of which NONE is left out."""
    candidates = torch.cat([held_out.unsqueeze(1), negatives.clamp(min=0)], dim=1)
    chosen = scores.gather(1, candidates)
    chosen[:, 1:].masked_fill_(negatives == NONE, -torch.inf)
    return held_out_rank(chosen, torch.zeros(len(held_out), dtype=torch.int64))
