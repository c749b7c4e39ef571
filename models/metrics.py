"""Ranking metrics as pure functions of the ranks that a shopper's targets got.

A shopper may have several targets: all that was bought next. Each is ranked **alone**, against the items that
are neither targets nor left out, so a shopper who bought much is not harder to serve than one who bought one
thing; a metric is the mean over a shopper's targets, then over shoppers. Only recall and `anyhit` judge the
one list that a shopper would see. With one target a shopper, HR@k is recall@k, and NDCG's ideal is 1
(Järvelin & Kekäläinen 2002).

Ties in scores count half: an item level with m others is placed in their middle, never at their head.
"""

import numpy as np
import torch
from torch import Tensor


def ranks_alone(scores: Tensor, shoppers: Tensor, targets: Tensor) -> Tensor:
    """Rank of each target among the items that are no targets of its shopper, 1 the best: [targets].

    scores: float [shoppers, items]; items to leave out of the ranking have the score −inf. shoppers, targets:
    int64 [targets], the row and the item of each target, rows ascending. Raises ValueError on NaN, which
    would rank as a win.
    """
    if torch.isnan(scores).any():
        raise ValueError("scores hold NaN: they cannot be ranked")
    others = scores.clone()
    others[shoppers, targets] = -torch.inf
    return 1.0 + above(others, padded(scores[shoppers, targets], shoppers, len(scores)), shoppers)


def ranks_together(scores: Tensor, shoppers: Tensor, targets: Tensor, alone: Tensor) -> Tensor:
    """Rank of each target in the one list of its shopper, in which its other targets stand too: [targets].

    alone: what `ranks_alone` gave for the same arguments.
    """
    own = padded(scores[shoppers, targets], shoppers, len(scores))
    return alone + above(own, own, shoppers) - 0.5  # an item is level with itself


def padded(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Loose values [n] of ascending rows [n] as [num_rows, most of a row], −inf where a row is shorter."""
    counts = torch.bincount(rows, minlength=num_rows)
    places = torch.arange(len(rows)) - (torch.cumsum(counts, 0) - counts)[rows]
    laid_out = values.new_full((num_rows, int(counts.max()) if len(rows) else 0), -torch.inf)
    laid_out[rows, places] = values
    return laid_out


def above(pool: Tensor, own: Tensor, rows: Tensor) -> Tensor:
    """How many of its row's pool stand above each value, those that are level counting half: [n].

    pool: [rows, pool]. own: [rows, most], what `padded` laid out of rows [n].
    """
    sorted_pool = torch.from_numpy(np.sort(pool.numpy(), axis=1))  # numpy's is several times as fast
    own = own.contiguous()
    least = torch.searchsorted(sorted_pool, own)
    most = torch.searchsorted(sorted_pool, own, right=True)
    counted = pool.shape[1] - 0.5 * (least + most).double()
    held = torch.arange(own.shape[1]) < torch.bincount(rows, minlength=len(own)).unsqueeze(1)
    return counted[held]


def gains(ranks: Tensor, k: int) -> Tensor:
    """1 / log2(1 + rank) where the rank is at most k, else 0: float64, of the same shape."""
    return torch.where(ranks <= k, 1.0 / torch.log2(1.0 + ranks.double()), 0.0)


def first(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Each shopper's first k of scores [shoppers, items]: the shopper and the item, int64 [shown] each.

    Items left out (−inf) are never shown, though a short list then has fewer than k.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1)
    shoppers, places = torch.nonzero(best.values > -torch.inf, as_tuple=True)
    return shoppers, best.indices[shoppers, places]
