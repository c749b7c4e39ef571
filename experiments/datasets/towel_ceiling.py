"""How well any recommender could do in the synthetic towel shop: two ceilings, computed from its own model.

A shopper with taste z picks item i with probability p_z(i) = softmax(appeal + z · loadingsᵀ)(i), and each new
item from p_z restricted to the items not yet bought. A ceiling is a scorer like any other, so
`evaluation.evaluate` ranks the same targets of the same shoppers by a ceiling as by a model.

**oracle** knows z, which no recommender does, and ranks by p_z.

**history** knows the generator and, like a recommender, the shopper's training history H. It ranks by the
posterior predictive of the next new item,

    P(i | H) = E[ p_z(i) / (1 − Σ_{j∈H} p_z(j)) | H ],        z | H ∝ N(z; 0, I) · Π_v P(S_v | z, before v),

where S_v is the set of items that are new in visit v (towel_likelihood.py). When, how often and how much a
shopper buys, and what is bought again, does not depend on z and drops out. There is no ceiling for items
bought again.

**The posterior** is computed by self-normalised importance sampling. Each shopper has a normal proposal
distribution, centred at the mode of the posterior, whose covariance is the inverse of the curvature at the
mode, slightly widened. (Mode and curvature are those of one order of the history, whose likelihood is
log-concave in z.) All shoppers share 128 points of a scrambled Sobol sequence. Their effective sample size is
84 or more for every shopper, and the ten items ranked first by them hold .00002 less of the probability than
those ranked first by 8,192 points.

**No model beats the ceilings, except by chance.** Exchanging two neighbours in a list changes a metric of
targets ranked alone (HR, NDCG, MRR) only if one of the two is a target and the other is not. Given z, a set
of targets becomes likelier if one of its items is replaced by an item of higher p_z. So the oracle's list is
the best in all these metrics, however many targets there are. Among the lists made from H, that of `history`
is the best if there is one target. If there are more, another list may be slightly better: ranking by the
probability of being among the next k items, given the number k of targets, reaches .0002 more on the `date`
split and .0001 more on `next-visit` (6,000 shoppers, standard errors .0002). On `last-item` and `basket`, a
part of the target's own visit is known and treated as an earlier visit. The likelihoods then differ by terms
of the order of p_z(i), a few hundredths.
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
SAMPLING_SEED = 31_415  # seed of the points at which all posteriors are sampled, the same for every run
WIDENING = 1.1  # ratio of the proposal's standard deviations to those of the normal approximation
MODE_STEPS = 6
SHOPPERS_AT_ONCE = 64  # masses [64, 128, 301] in float32 are 10 MB


@dataclass(frozen=True)
class ChoiceModel:
    """The parameters of the choice: appeal, float32 [items], and loadings, float32 [items, K]."""

    appeal: Array
    loadings: Array

    def probabilities(self, tastes: Array) -> Array:
        """The probability that each item is bought first.

        tastes: float32 [n, K]. Returns float32 [n, items], whose rows sum to 1.
        """
        utilities: Array = tastes @ self.loadings.T + self.appeal
        utilities -= utilities.max(axis=1, keepdims=True)
        np.exp(utilities, out=utilities)
        utilities /= utilities.sum(axis=1, keepdims=True)
        return utilities


@cache
def points(samples: int, dimensions: int) -> Tensor:
    """Quasi-random standard normal points: float32 [samples, dimensions]."""
    sobol: Any = torch.quasirandom.SobolEngine
    sequence: Tensor = sobol(dimensions, scramble=True, seed=SAMPLING_SEED).draw(samples, dtype=torch.float64)
    normal: Tensor = torch.special.ndtri(sequence)
    return normal.float()


class History:
    """The posterior predictive of shoppers' next new items."""

    def __init__(self, model: ChoiceModel, samples: int) -> None:
        none = np.zeros((1, model.loadings.shape[1]), dtype=np.float32)
        # The row after those of the items has no mass. It pads shorter histories.
        self.loadings = torch.from_numpy(np.concatenate([model.loadings, none]))
        self.appeal = torch.from_numpy(np.append(model.appeal, np.float32(-np.inf)))
        self.squares = (self.loadings.unsqueeze(2) * self.loadings.unsqueeze(1)).flatten(1)
        self.points = points(samples, self.loadings.shape[1])

    def masses(self, tastes: Tensor) -> Tensor:
        """The unnormalised p_z, followed by 0 for padding: tastes [..., K] → [..., items + 1]."""
        masses = torch.addmm(self.appeal, tastes.reshape(-1, tastes.shape[-1]), self.loadings.T).exp_()
        return masses.view(*tastes.shape[:-1], -1)

    def approximate(self, purchases: Visits) -> tuple[Tensor, Tensor]:
        """Find the mode of the posterior and the curvature there: [n, K] and [n, K, K].

        Uses Newton's method, as if a visit's items were bought in the order of `purchases`. If it has not
        converged, the only effect is a smaller effective sample size.
        """
        nothing = len(self.loadings) - 1
        real = (purchases.items < nothing).float()
        bought = self.loadings[purchases.items]  # [n, most items, K]
        tastes = torch.zeros(len(purchases.items), self.loadings.shape[1])
        for step in range(MODE_STEPS + 1):
            masses = self.masses(tastes)
            own = masses.gather(1, purchases.items)
            whole = masses.sum(dim=1, keepdim=True)
            before = own.cumsum(dim=1) - own
            left = torch.maximum(whole - before, SMALLEST_REMAINDER * whole)
            rates = (real / left).cumsum(dim=1)  # a unit of mass counts in every choice in which it was left
            weights = masses * rates[:, -1:]
            weights.scatter_(1, purchases.items, own * rates)
            moments = own.unsqueeze(2) * bought
            means = (masses @ self.loadings).unsqueeze(1) - (moments.cumsum(dim=1) - moments)
            means *= (real.sqrt() / left).unsqueeze(2)
            curvature = (weights @ self.squares).view(len(tastes), *[tastes.shape[1]] * 2)
            curvature += torch.eye(tastes.shape[1]) - means.mT @ means
            if step < MODE_STEPS:
                slope = bought.sum(dim=1) - weights @ self.loadings - tastes
                tastes = tastes + torch.linalg.solve(curvature, slope)
        return tastes, curvature

    def scores(self, purchases: Visits) -> tuple[Tensor, Tensor]:
        """The posterior predictive and the effective sample sizes (Σw)² / Σw²: [n, items] and [n].

        The predictive is 0 for the items in `purchases`.
        """
        modes, curvature = self.approximate(purchases)
        factor = torch.linalg.cholesky(curvature)  # of the inverse covariance
        away = torch.linalg.solve_triangular(factor.mT, self.points.T.expand(len(modes), -1, -1), upper=True)
        tastes = modes.unsqueeze(1) + WIDENING * away.mT  # [n, samples, K]
        masses = self.masses(tastes)
        own = masses.gather(2, purchases.items.unsqueeze(1).expand(-1, tastes.shape[1], -1))
        log_weights, left = log_likelihood(own, masses.sum(dim=2), purchases)
        log_weights += 0.5 * (self.points.square().sum(dim=1) - tastes.square().sum(dim=2))
        weights = torch.softmax(log_weights, dim=1)
        predicted = ((weights / left).unsqueeze(1) @ masses).squeeze(1)
        predicted.scatter_(1, purchases.items, 0.0)
        return predicted[:, :-1], 1.0 / weights.square().sum(dim=1)


def history_scorer(model: ChoiceModel, history: Events, samples: int) -> Callable[[Array], Tensor]:
    """A scorer that makes the best use of each device's history; similar lengths share a batch."""
    posterior = History(model, samples)

    def score(devices: Array) -> Tensor:
        events = history.take(devices)
        scores = torch.empty(len(devices), len(model.appeal))
        effective = torch.empty(len(devices))
        by_length = np.argsort(events.counts, kind="stable")
        for start in range(0, len(devices), SHOPPERS_AT_ONCE):
            rows = by_length[start : start + SHOPPERS_AT_ONCE]
            scores[rows], effective[rows] = posterior.scores(Visits.of(events.take(rows), len(model.appeal)))
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
    """A scorer that knows the devices' tastes [devices, K]."""
    return lambda devices: torch.from_numpy(model.probabilities(tastes[devices]))


def ceilings(
    model: ChoiceModel, tastes: Array, history: Events, samples: int = SAMPLES
) -> dict[str, Callable[[Array], Tensor]]:
    """The scorers of the two ceilings, oracle and history, for `evaluate.rank_targets`.

    tastes: [devices, K], the true tastes. history: the devices' training events, from which they are served.
    Raises ValueError if the two disagree on the number of devices.
    """
    if len(tastes) != history.num_devices:
        raise ValueError(
            f"{len(tastes)} tastes and {history.num_devices} devices: a ceiling needs one taste per device"
        )
    return {
        "oracle": oracle_scorer(model, tastes),
        "history": history_scorer(model, history, samples),
    }
