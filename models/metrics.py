"""Ranking metrics as pure functions of the ranks that a shopper's targets got.

A shopper may have several targets: everything bought next. Each is ranked **alone**, against the items that
are neither targets nor left out. So a shopper who bought much is not harder to serve than one who bought one
thing. A metric is the mean over a shopper's targets, then over shoppers. Only recall and `anyhit` judge the
one list that a shopper would see. With one target per shopper, HR@k is recall@k, and NDCG's ideal is 1
(Järvelin & Kekäläinen 2002).

Ties in scores count half: an item tied with m others is placed in their middle, never at their head.
"""

import numpy as np
import torch
from torch import Tensor


def ranks_alone(scores: Tensor, shoppers: Tensor, targets: Tensor) -> Tensor:
    """Return the rank of each target among the items that are not its shopper's targets: [targets].

    The best rank is 1. scores: float [shoppers, items]; items to leave out of the ranking have the score
    −inf. shoppers, targets: int64 [targets], the row and the item of each target, with rows ascending. Raises
    ValueError on NaN, which would rank as a win.
    """
    if torch.isnan(scores).any():
        raise ValueError("scores hold NaN, so they cannot be ranked")
    others = scores.clone()
    others[shoppers, targets] = -torch.inf
    return 1.0 + above(others, padded(scores[shoppers, targets], shoppers, len(scores)), shoppers)


def ranks_together(scores: Tensor, shoppers: Tensor, targets: Tensor, alone: Tensor) -> Tensor:
    """Return the rank of each target in its shopper's one list, which includes the other targets: [targets].

    alone: what `ranks_alone` returned for the same arguments.
    """
    own = padded(scores[shoppers, targets], shoppers, len(scores))
    return alone + above(own, own, shoppers) - 0.5  # an item ties with itself


def padded(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Return values [n] of ascending rows [n] as [num_rows, longest row], padded with −inf."""
    counts = torch.bincount(rows, minlength=num_rows)
    places = torch.arange(len(rows)) - (torch.cumsum(counts, 0) - counts)[rows]
    table = values.new_full((num_rows, int(counts.max()) if len(rows) else 0), -torch.inf)
    table[rows, places] = values
    return table


def above(pool: Tensor, own: Tensor, rows: Tensor) -> Tensor:
    """Return how many values of its row's pool are above each value, with ties counted half: [n].

    pool: [rows, pool]. own: [rows, longest row], what `padded` returned for rows [n].
    """
    # numpy sorts several times faster than torch.
    sorted_pool = torch.from_numpy(np.sort(pool.numpy(), axis=1))
    own = own.contiguous()
    below = torch.searchsorted(sorted_pool, own)
    at_or_below = torch.searchsorted(sorted_pool, own, right=True)
    counted = pool.shape[1] - 0.5 * (below + at_or_below).double()
    held = torch.arange(own.shape[1]) < torch.bincount(rows, minlength=len(own)).unsqueeze(1)
    return counted[held]


def gains(ranks: Tensor, k: int) -> Tensor:
    """Return 1 / log2(1 + rank) if the rank is at most k, else 0: float64, of the same shape."""
    return torch.where(ranks <= k, 1.0 / torch.log2(1.0 + ranks.double()), 0.0)


def first(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return each shopper's top k of scores [shoppers, items], as shopper and item: int64 [shown] each.

    Items left out (−inf) are never shown, so a list may have fewer than k.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1)
    shoppers, places = torch.nonzero(best.values > -torch.inf, as_tuple=True)
    return shoppers, best.indices[shoppers, places]
