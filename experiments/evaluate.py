"""Accuracy on held-out items, measured by the simulator: nothing here is released by a device."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from client.evaluation import BLOCK_SCORES, NONE
from client.events import Events
from experiments.split import Split
from models.metrics import coverage, held_out_rank, hit_rate, mean_reciprocal_rank, ndcg

Metrics = dict[str, dict[str, float]]
Scorer = Callable[[Events], Tensor]  # events of some devices → scores [devices, items]


def evaluate(scorer: Scorer, split: Split, num_items: int, *, sample: int = 0) -> Metrics:
    """HR@10, NDCG@10, MRR and coverage over the whole catalogue, and HR@10, NDCG@10 against 99 negatives.

    Items in a shopper's training events are not ranked. sample: test at most so many shoppers, a fixed random
    choice; 0: all. With nobody to test, every metric is NaN.
    """
    tested = split.tested(sample)
    full, sampled = [torch.empty(0)], [torch.empty(0)]
    shown = torch.zeros(num_items, dtype=torch.bool)
    block = max(1, BLOCK_SCORES // num_items)
    for start in range(0, len(tested), block):
        devices = tested[start : start + block]
        events = split.train.take(devices)
        held_out = torch.from_numpy(split.held_out[devices])
        scores = scorer(events)
        sampled.append(sampled_rank(scores, held_out, torch.from_numpy(split.negatives_of(devices))))
        scores = scores.clone()
        scores[torch.from_numpy(events.devices), torch.from_numpy(events.items.astype(np.int64))] = -torch.inf
        full.append(held_out_rank(scores, held_out))
        shown |= coverage(scores, 10)
    ranks, sampled_ranks = torch.cat(full), torch.cat(sampled)
    return {
        "full": {
            "hr@10": hit_rate(ranks, 10),
            "ndcg@10": ndcg(ranks, 10),
            "mrr": mean_reciprocal_rank(ranks),
            "coverage@10": float(shown.double().mean()),
        },
        "sampled99": {"hr@10": hit_rate(sampled_ranks, 10), "ndcg@10": ndcg(sampled_ranks, 10)},
    }


def sampled_rank(scores: Tensor, held_out: Tensor, negatives: Tensor) -> Tensor:
    """Rank [devices] of the held-out item among its negatives [devices, 99], of which NONE is left out."""
    candidates = torch.cat([held_out.unsqueeze(1), negatives.clamp(min=0)], dim=1)
    chosen = scores.gather(1, candidates)
    chosen[:, 1:].masked_fill_(negatives == NONE, -torch.inf)
    return held_out_rank(chosen, torch.zeros(len(held_out), dtype=torch.int64))
