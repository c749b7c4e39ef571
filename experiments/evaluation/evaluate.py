"""Accuracy on what shoppers bought next, as the simulator measures it. Devices release nothing for it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.evaluation import BLOCK_SCORES
from terrycloth.client.events import Events
from terrycloth.experiments.evaluation.metric_table import measured
from terrycloth.experiments.evaluation.negatives import NONE
from terrycloth.experiments.evaluation.ranks import Devices, Ranks
from terrycloth.experiments.evaluation.split import Holdout, Split
from terrycloth.models.metrics import above, first, padded, ranks_alone, ranks_together

Metrics = dict[str, dict[str, float]]
Scorer = Callable[[Events], Tensor]  # events of some devices → scores [devices, items]
DeviceScorer = Callable[[Devices], Tensor]  # numbers of some devices → scores [devices, items]

LISTED = 10  # length of the list from which coverage and novelty are computed


def evaluate(scorer: Scorer, split: Split, num_items: int, *, sample: int = 0) -> Metrics:
    """Measure a model that scores from a shopper's history alone. Parameters as in `rank_targets`."""
    return measured(rank_targets(by_history(scorer, split.test), split, num_items, sample=sample))


def by_history(scorer: Scorer, holdout: Holdout) -> DeviceScorer:
    """Turn a scorer of histories into a scorer of the holdout's rows, which uses only their histories."""
    return lambda rows: scorer(holdout.history.take(rows))


def rank_targets(score: DeviceScorer, split: Split, num_items: int, *, sample: int = 0) -> Ranks:
    """Rank each tested shopper's targets.

    Items that a shopper already has are not ranked, unless the rule counts repeats. sample: the number of
    shoppers to test at most, a fixed random choice; 0: all. Raises ValueError if a score is NaN.
    """
    return ranks_of(score, split.test, popularity_of(split.train, num_items), split.rule.repeats, sample)


def evaluate_unseen(scorer: Scorer, split: Split, num_items: int) -> dict[str, dict[str, float]]:
    """HR@10 and NDCG@10 of shoppers first seen after the date, and the number of visits that they cover.

    First visits and later visits are measured separately.
    """
    popularity = popularity_of(split.train, num_items)
    results = {}
    for name, holdout in split.unseen.items():
        ranks = ranks_of(by_history(scorer, holdout), holdout, popularity, split.rule.repeats, 0)
        full = measured(ranks)["full"]
        visits = float(len(ranks.devices))
        results[name] = {"visits": visits, "hr@10": full["hr@10"], "ndcg@10": full["ndcg@10"]}
    return results


def popularity_of(train: Events, num_items: int) -> Tensor:
    """The share of shoppers who have each item, counted as at least one shopper: float64 [items]."""
    pairs = np.unique(train.devices * num_items + train.items)
    counts = np.maximum(np.bincount(pairs % num_items, minlength=num_items), 1)
    return torch.from_numpy(counts / max(1, train.num_devices))


def ranks_of(score: DeviceScorer, holdout: Holdout, popularity: Tensor, repeats: bool, sample: int) -> Ranks:
    """Rank the targets of any holdout; see `rank_targets`.

    popularity: float64 [items]; an item's novelty is −log₂ of it (Zhou et al. 2010).
    """
    num_items = len(popularity)
    tested = holdout.tested(sample)
    draws = holdout.negatives.shape[1]
    alone, together = [torch.empty(0, dtype=torch.float64)], [torch.empty(0, dtype=torch.float64)]
    sampled = [torch.empty(0, draws, dtype=torch.float64)]
    repeated, novelty = [torch.empty(0, dtype=torch.bool)], [torch.empty(0, dtype=torch.float64)]
    shown = torch.zeros(num_items, dtype=torch.bool)
    block = max(1, BLOCK_SCORES // num_items)
    for start in range(0, len(tested), block):
        rows = tested[start : start + block]
        history, targets = holdout.history.take(rows), holdout.targets.take(rows)
        of, items = torch.from_numpy(targets.devices), torch.from_numpy(targets.items)
        scores = score(rows)
        negatives = torch.from_numpy(holdout.negatives_of(rows)) if draws else torch.empty(len(rows), 0, 0)
        sampled.append(sampled_ranks(scores, of, items, negatives))
        scores = scores.clone()
        owned = torch.zeros(scores.shape, dtype=torch.bool)
        owned[torch.from_numpy(history.devices), torch.from_numpy(history.items.astype(np.int64))] = True
        repeated.append(owned[of, items])
        if not repeats:
            scores[owned] = -torch.inf
        alone.append(ranks_alone(scores, of, items))
        together.append(ranks_together(scores, of, items, alone[-1]))
        shoppers, listed = first(scores, LISTED)
        shown[listed] = True
        surprise = torch.zeros(len(rows), dtype=torch.float64)
        surprise.index_add_(0, shoppers, -torch.log2(popularity[listed]))
        novelty.append(surprise / torch.bincount(shoppers, minlength=len(rows)).clamp(min=1))
    return Ranks(
        tested,
        torch.from_numpy(np.repeat(np.arange(len(tested)), holdout.targets.counts[tested])),
        torch.cat(alone),
        torch.cat(together),
        torch.cat(sampled),
        torch.cat(repeated),
        shown,
        torch.cat(novelty),
    )


def sampled_ranks(scores: Tensor, shoppers: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Rank of each target among 99 sampled negatives of its shopper, for each draw: float64 [targets, draws].

    negatives: int32 [shoppers, draws, 99]; NONE is padding.
    """
    rows, draws, _ = negatives.shape
    if draws == 0:
        return torch.empty(len(targets), 0, dtype=torch.float64)
    drawn = scores.gather(1, negatives.long().clamp(min=0).reshape(rows, -1)).reshape(negatives.shape)
    drawn = drawn.masked_fill(negatives == NONE, -torch.inf)
    of_draws = [ranks_alone_among(drawn[:, draw], scores, shoppers, targets) for draw in range(draws)]
    return torch.stack(of_draws, dim=1)


def ranks_alone_among(pool: Tensor, scores: Tensor, shoppers: Tensor, targets: Tensor) -> Tensor:
    """Rank of each target among itself and its shopper's row of `pool` [shoppers, pool size]: [targets]."""
    return 1.0 + above(pool, padded(scores[shoppers, targets], shoppers, len(scores)), shoppers)
