"""How well any recommender could do in the synthetic towel shop: two ceilings, computed from its own model.

A shopper with taste z picks item i with probability p_z(i) = softmax(appeal + z · loadingsᵀ)(i), and each new
item from p_z restricted to what is not yet bought. A ceiling is a scorer like any other, so that
`evaluation.evaluate` ranks the same targets of the same shoppers by it as by a model.

**oracle** knows z, which no recommender does, and ranks by p_z.

**history** knows the generator but of the shopper only the training history H, as a recommender does, and
ranks by the posterior predictive of the next new item,

    P(i | H) = E[ p_z(i) / (1 − Σ_{j∈H} p_z(j)) | H ],        z | H ∝ N(z; 0, I) · Π_v P(S_v | z, before v),

S_v being the set of items new in visit v (towel_likelihood.py). When, how often and how much a shopper buys,
and what is bought again, does not depend on z and drops out. For items bought again there is no ceiling.

**The posterior** is found by self-normalised importance sampling, for each shopper from a normal distribution
of its own: at the mode of the posterior, with the inverse of the curvature there, somewhat widened. (Mode and
curvature are those of one order of the history, whose likelihood is log-concave in z.) All shoppers share
128 points of a scrambled Sobol sequence. They are worth 84 draws or more from the posterior of any shopper,
and the ten items they choose hold .00002 less of the probability than those that 8,192 points choose.

**What no model beats, except by chance.** To exchange two neighbours in a list changes a metric of targets
ranked alone (HR, NDCG, MRR) only where one of the two is a target and the other is not. For one who knows z
a set of targets grows likelier where an item is replaced by one of higher p_z, so the oracle's list is the
best in all these metrics, however many targets there are. Of lists made from H that of `history` is the best
where there is one target. Where there are more, another may be a little better: to rank by the probability
of being among the next k items, for one who is told the number k of targets, finds .0002 more by `date` and
.0001 more by `next-visit` (6,000 shoppers, standard errors .0002). By `last-item` and `basket` a part of the
target's own visit is known and taken as a visit before it: the likelihoods then differ by terms of the order
of p_z(i), some hundredths.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.experiments.datasets.towel_likelihood import SMALLEST_REMAINDER, Visits, log_likelihood

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
SAMPLES = 128
SAMPLING_SEED = 31_415  # of the points that all posteriors are sampled at: the same for every run
WIDENED = 1.1  # the standard deviations that are sampled from, over those of the normal approximation
MODE_STEPS = 6
SHOPPERS_AT_ONCE = 64  # masses [64, 128, 301] in float32 are 10 MB


@dataclass(frozen=True)
class ChoiceModel:
    """What a taste chooses from: appeal, float32 [items], and loadings, float32 [items, K]."""

    appeal: Array
    loadings: Array

    def probabilities(self, tastes: Array) -> Array:
        """Chance that each item comes first: tastes float32 [n, K] → float32 [n, items], rows sum to 1."""
        utilities: Array = tastes @ self.loadings.T + self.appeal
        utilities -= utilities.max(axis=1, keepdims=True)
        np.exp(utilities, out=utilities)
        utilities /= utilities.sum(axis=1, keepdims=True)
        return utilities


@cache
def points(samples: int, dimensions: int) -> Tensor:
    """Standard normal points, evenly spread: float32 [samples, dimensions]."""
    sobol: Any = torch.quasirandom.SobolEngine
    sequence: Tensor = sobol(dimensions, scramble=True, seed=SAMPLING_SEED).draw(samples, dtype=torch.float64)
    normal: Tensor = torch.special.ndtri(sequence)
    return normal.float()


class History:
    """The posterior predictive of shoppers' next new items."""

    def __init__(self, model: ChoiceModel, samples: int) -> None:
        none = np.zeros((1, model.loadings.shape[1]), dtype=np.float32)
        # One row more than there are items, of no mass: what a shorter history is padded with.
        self.loadings = torch.from_numpy(np.concatenate([model.loadings, none]))
        self.appeal = torch.from_numpy(np.append(model.appeal, np.float32(-np.inf)))
        self.squares = (self.loadings.unsqueeze(2) * self.loadings.unsqueeze(1)).flatten(1)
        self.points = points(samples, self.loadings.shape[1])

    def masses(self, tastes: Tensor) -> Tensor:
        """What p_z is proportional to, the last of NOTHING, 0: tastes [..., K] → [..., items + 1]."""
        found = torch.addmm(self.appeal, tastes.reshape(-1, tastes.shape[-1]), self.loadings.T).exp_()
        return found.view(*tastes.shape[:-1], -1)

    def approximate(self, held: Visits) -> tuple[Tensor, Tensor]:
        """Mode of the posterior, as if visits had the order of `held`, by Newton's method; curvature there.

        [n, K] and [n, K, K]. Where the method has not yet arrived, only samples are worth less.
        """
        nothing = len(self.loadings) - 1
        real = (held.items < nothing).float()
        bought = self.loadings[held.items]  # [n, most, K]
        tastes = torch.zeros(len(held.items), self.loadings.shape[1])
        for step in range(MODE_STEPS + 1):
            masses = self.masses(tastes)
            own = masses.gather(1, held.items)
            whole = masses.sum(dim=1, keepdim=True)
            before = own.cumsum(dim=1) - own
            left = torch.maximum(whole - before, SMALLEST_REMAINDER * whole)
            rates = (real / left).cumsum(dim=1)  # a unit of mass counts in every choice it was left in
            weights = masses * rates[:, -1:]
            weights.scatter_(1, held.items, own * rates)
            moments = own.unsqueeze(2) * bought
            means = (masses @ self.loadings).unsqueeze(1) - (moments.cumsum(dim=1) - moments)
            means *= (real.sqrt() / left).unsqueeze(2)
            curvature = (weights @ self.squares).view(len(tastes), *[tastes.shape[1]] * 2)
            curvature += torch.eye(tastes.shape[1]) - means.mT @ means
            if step < MODE_STEPS:
                slope = bought.sum(dim=1) - weights @ self.loadings - tastes
                tastes = tastes + torch.linalg.solve(curvature, slope)
        return tastes, curvature

    def scores(self, held: Visits) -> tuple[Tensor, Tensor]:
        """The predictive [n, items], 0 of what is held, and the effective sample sizes (Σw)² / Σw² [n]."""
        modes, curvature = self.approximate(held)
        factor = torch.linalg.cholesky(curvature)  # of the inverse covariance
        away = torch.linalg.solve_triangular(factor.mT, self.points.T.expand(len(modes), -1, -1), upper=True)
        tastes = modes.unsqueeze(1) + WIDENED * away.mT  # [n, samples, K]
        masses = self.masses(tastes)
        own = masses.gather(2, held.items.unsqueeze(1).expand(-1, tastes.shape[1], -1))
        found, left = log_likelihood(own, masses.sum(dim=2), held)
        found += 0.5 * (self.points.square().sum(dim=1) - tastes.square().sum(dim=2))
        weights = torch.softmax(found, dim=1)
        predicted = ((weights / left).unsqueeze(1) @ masses).squeeze(1)
        predicted.scatter_(1, held.items, 0.0)
        return predicted[:, :-1], 1.0 / weights.square().sum(dim=1)


def history_scorer(model: ChoiceModel, history: Events, samples: int) -> Callable[[Array], Tensor]:
    """Scores of the best use of what devices hold; those with histories of about one length together."""
    posterior = History(model, samples)

    def score(devices: Array) -> Tensor:
        held = history.take(devices)
        scores = torch.empty(len(devices), len(model.appeal))
        effective = torch.empty(len(devices))
        by_length = np.argsort(held.counts, kind="stable")
        for start in range(0, len(devices), SHOPPERS_AT_ONCE):
            rows = by_length[start : start + SHOPPERS_AT_ONCE]
            scores[rows], effective[rows] = posterior.scores(Visits.of(held.take(rows), len(model.appeal)))
        if len(devices):
            logger.info(
                "towel ceiling: %d shoppers, %d samples each, effective sample size %.0f at least",
                len(devices),
                samples,
                effective.min(),
            )
        return scores

    return score


def oracle_scorer(model: ChoiceModel, tastes: Array) -> Callable[[Array], Tensor]:
    """Scores of one who knows the devices' tastes [devices, K]."""
    return lambda devices: torch.from_numpy(model.probabilities(tastes[devices]))


def ceilings(
    model: ChoiceModel, tastes: Array, history: Events, samples: int = SAMPLES
) -> dict[str, Callable[[Array], Tensor]]:
    """A scorer of devices a ceiling, for `evaluate.rank_targets`: oracle and history.

    tastes: [devices, K], the true ones. history: what each device is served by, its training events. Raises
    ValueError where the two disagree on the number of devices.
    """
    if len(tastes) != history.num_devices:
        raise ValueError(
            f"{len(tastes)} tastes and {history.num_devices} devices: a ceiling needs one of each a device"
        )
    return {
        "oracle": oracle_scorer(model, tastes),
        "history": history_scorer(model, history, samples),
    }
