"""Ranking metrics as pure functions of the rank a held-out item got (Järvelin & Kekäläinen 2002 for NDCG).

With one relevant item a shopper, HR@k is recall@k and the ideal DCG is 1. Ties in scores count half: an item
level with m others is placed in their middle, never at their head.
"""

import numpy as np
import torch
from torch import Tensor


def held_out_rank(scores: Tensor, held_out: Tensor) -> Tensor:
    """Rank [shoppers], 1 the best, of item held_out [shoppers] in scores [shoppers, items].

    Items to leave out of the ranking (already bought) have the score −inf. NaN would rank as a win, so it is
    refused.
    """
    if torch.isnan(scores).any():
        raise ValueError("scores hold NaN: they cannot be ranked")
    own = scores.gather(1, held_out.unsqueeze(1))
    better = count(scores > own)
    level = count(scores == own) - 1  # without the item itself
    return 1.0 + better + 0.5 * level


def count(true: Tensor) -> Tensor:
    """How many of each row [rows, columns]: int64 [rows]. numpy does it in a fifth of torch's time."""
    return torch.from_numpy(np.count_nonzero(true.numpy(), axis=1))


def hit_rate(ranks: Tensor, k: int) -> float:
    """HR@k: the share of shoppers whose held-out item is among the first k."""
    return float((ranks <= k).double().mean())


def ndcg(ranks: Tensor, k: int) -> float:
    """NDCG@k: the mean gain."""
    return float(gains(ranks, k).mean())


def gains(ranks: Tensor, k: int) -> Tensor:
    """1 / log2(1 + rank) where the rank is at most k, else 0: float64 [shoppers]."""
    return torch.where(ranks <= k, 1.0 / torch.log2(1.0 + ranks.double()), 0.0)


def mean_reciprocal_rank(ranks: Tensor) -> float:
    """MRR: mean of 1 / rank."""
    return float((1.0 / ranks.double()).mean())


def coverage(scores: Tensor, k: int) -> Tensor:
    """Which items [items] are in at least one shopper's first k of scores [shoppers, items]: bool.

    Items left out (−inf) are never shown, though a short list then has fewer than k.
    """
    shown = torch.zeros(scores.shape[1], dtype=torch.bool)
    best = scores.topk(min(k, scores.shape[1]), dim=1)
    shown[best.indices[best.values > -torch.inf]] = True
    return shown
