"""Accuracy on what shoppers bought next, measured by the simulator: nothing here is released by a device."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from client.evaluation import BLOCK_SCORES
from client.events import Events
from experiments.negatives import NONE
from experiments.split import Holdout, Split
from models.metrics import above, first, gains, padded, ranks_alone, ranks_together

Devices = npt.NDArray[np.int64]
Metrics = dict[str, dict[str, float]]
Scorer = Callable[[Events], Tensor]  # events of some devices → scores [devices, items]
DeviceScorer = Callable[[Devices], Tensor]  # numbers of some devices → the same

LISTED = 10  # items in the list that coverage and novelty look at


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
        counts = torch.bincount(self.shoppers, minlength=len(self.devices))
        sums = torch.zeros(len(self.devices), dtype=torch.float64)
        return sums.index_add_(0, self.shoppers, values.double()) / counts

    def found(self, k: int) -> Tensor:
        """Recall@k of each shopper: its targets in the one list of k, over as many as fit: [tested]."""
        counts = torch.bincount(self.shoppers, minlength=len(self.devices))
        return self.by_shopper(self.together <= k) * counts / counts.clamp(max=k)

    def only(self, mask: Tensor) -> Tensor:
        """HR@10 of the targets where mask [targets] is true: of each shopper that has one."""
        counts = torch.bincount(self.shoppers[mask], minlength=len(self.devices))
        hits = torch.bincount(
            self.shoppers[mask], (self.alone[mask] <= 10).double(), minlength=len(self.devices)
        )
        return (hits / counts)[counts > 0]

    def metrics(self) -> Metrics:
        """Every metric, the mean over the tested shoppers; with nobody to test, NaN."""
        full = {name: float(of(self).mean()) for name, of in FULL.items()}
        full["hr@10_error"] = standard_error(FULL["hr@10"](self))
        full["coverage@10"] = float(self.shown.double().mean())
        if bool(self.repeated.any()):
            full["new_hr@10"] = float(self.only(~self.repeated).mean())
            full["repeated_hr@10"] = float(self.only(self.repeated).mean())
        return {"full": full, "sampled99": {name: float(of(self).mean()) for name, of in SAMPLED99.items()}}


PerShopper = Callable[[Ranks], Tensor]

# What is measured of each shopper, and its mean is in a result: by the metric's name, over the whole
# catalogue and against 99 sampled negatives.
FULL: dict[str, PerShopper] = {
    "hr@10": lambda ranks: ranks.by_shopper(ranks.alone <= 10),
    "ndcg@10": lambda ranks: ranks.by_shopper(gains(ranks.alone, 10)),
    "mrr": lambda ranks: ranks.by_shopper(1.0 / ranks.alone),
    "anyhit@10": lambda ranks: (ranks.by_shopper(ranks.alone <= 10) > 0).double(),
    "recall@10": lambda ranks: ranks.found(10),
    "recall@20": lambda ranks: ranks.found(20),
    "novelty@10": lambda ranks: ranks.novelty,
}
SAMPLED99: dict[str, PerShopper] = {
    "hr@10": lambda ranks: ranks.by_shopper(ranks.sampled <= 10),
    "ndcg@10": lambda ranks: ranks.by_shopper(gains(ranks.sampled, 10)),
}


def standard_error(values: Tensor) -> float:
    """Of the mean over shoppers of values [tested]; NaN with fewer than two."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")


def evaluate(scorer: Scorer, split: Split, num_items: int, *, sample: int = 0) -> Metrics:
    """The metrics of `rank_targets`, of a model that scores by what is known of a shopper alone."""
    return rank_targets(by_history(scorer, split.test), split, num_items, sample=sample).metrics()


def by_history(scorer: Scorer, holdout: Holdout) -> DeviceScorer:
    """Scores by what is known of the rows' shoppers, and by nothing else of theirs."""
    return lambda rows: scorer(holdout.history.take(rows))


def rank_targets(score: DeviceScorer, split: Split, num_items: int, *, sample: int = 0) -> Ranks:
    """Rank each tested shopper's targets.

    Items that a shopper has are not ranked, unless the rule counts repeats. sample: test at most so many
    shoppers, a fixed random choice; 0: all. Raises ValueError where a score is NaN.
    """
    return ranks_of(score, split.test, popularity_of(split.train, num_items), split.rule.repeats, sample)


def evaluate_unseen(scorer: Scorer, split: Split, num_items: int) -> dict[str, dict[str, float]]:
    """HR@10 and NDCG@10 of shoppers first seen after the date, and how many visits they are of, by visit."""
    known = popularity_of(split.train, num_items)
    found = {}
    for name, holdout in split.unseen.items():
        ranks = ranks_of(by_history(scorer, holdout), holdout, known, split.rule.repeats, 0)
        full = ranks.metrics()["full"]
        visits = float(len(ranks.devices))
        found[name] = {"visits": visits, "hr@10": full["hr@10"], "ndcg@10": full["ndcg@10"]}
    return found


def popularity_of(train: Events, num_items: int) -> Tensor:
    """The part of the shoppers that has each item, that of one shopper at least: float64 [items]."""
    pairs = np.unique(train.devices * num_items + train.items)
    counts = np.maximum(np.bincount(pairs % num_items, minlength=num_items), 1)
    return torch.from_numpy(counts / max(1, train.num_devices))


def ranks_of(score: DeviceScorer, holdout: Holdout, popularity: Tensor, repeats: bool, sample: int) -> Ranks:
    """`rank_targets`, of any holdout. popularity: novelty is −log₂ of it (Zhou et al. 2010)."""
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
        held, targets = holdout.history.take(rows), holdout.targets.take(rows)
        of, items = torch.from_numpy(targets.devices), torch.from_numpy(targets.items)
        scores = score(rows)
        negatives = torch.from_numpy(holdout.negatives_of(rows)) if draws else torch.empty(len(rows), 0, 0)
        sampled.append(sampled_ranks(scores, of, items, negatives))
        scores = scores.clone()
        owned = torch.zeros(scores.shape, dtype=torch.bool)
        owned[torch.from_numpy(held.devices), torch.from_numpy(held.items.astype(np.int64))] = True
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
    """Rank of each target among 99 negatives of its shopper, draw by draw: float64 [targets, draws].

    negatives: int32 [shoppers, draws, 99], of which NONE is left out.
    """
    rows, draws, _ = negatives.shape
    if draws == 0:
        return torch.empty(len(targets), 0, dtype=torch.float64)
    drawn = scores.gather(1, negatives.long().clamp(min=0).reshape(rows, -1)).reshape(negatives.shape)
    drawn = drawn.masked_fill(negatives == NONE, -torch.inf)
    of_draws = [ranks_alone_among(drawn[:, draw], scores, shoppers, targets) for draw in range(draws)]
    return torch.stack(of_draws, dim=1)


def ranks_alone_among(pool: Tensor, scores: Tensor, shoppers: Tensor, targets: Tensor) -> Tensor:
    """Rank of each target in its shopper's row of a pool of scores [shoppers, pool] and itself: [targets]."""
    return 1.0 + above(pool, padded(scores[shoppers, targets], shoppers, len(scores)), shoppers)
