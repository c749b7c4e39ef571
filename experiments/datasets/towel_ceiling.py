"""How well any recommender could do in the synthetic towel shop: two ceilings, computed from its own model.

A shopper with taste z picks item i with probability p_z(i) = softmax(appeal + z · loadingsᵀ)(i), and buys
distinct items i₁, i₂, … in the Plackett–Luce order: each new one from p_z restricted to what is not yet
bought (Luce 1959, *Individual Choice Behavior*; Plackett 1975, *The Analysis of Permutations*), so

    P(i₁ … i_n | z) = Π_t  p_z(i_t) / (1 − Σ_{s<t} p_z(i_s)).

**oracle** knows z, which no recommender does, and ranks by p_z.

**history** knows the generator but of the shopper only the training history H = i₁ … i_n, as a recommender
does, and ranks by the posterior predictive of the next new item,

    P(i | H) = E[ p_z(i) / (1 − Σ_{j∈H} p_z(j)) | H ],        z | H ∝ N(z; 0, I) · P(H | z).

Ranking by the probability of being the held-out item is the best anyone can do in hit rate at 10 (and in any
metric that falls with the rank), so no model, private or not, beats this one except by chance. The posterior
is computed by self-normalised importance sampling from the prior, with one set of samples for all shoppers:
40,000 of them are worth some 1,300 draws from the posterior of the median shopper (15 or fewer for one in a
hundred, those with the longest histories), and twice as many move the hit rate by less than .003.
How often and when a shopper buys, and what is bought again, does not depend on z and drops out.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from client.events import Events

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
CUTOFF = 10
MOST_SHOPPERS = 2_000
PRIOR_SAMPLES = 40_000
SAMPLING_SEED = 31_415  # of the shoppers measured and of the prior samples: the same for every run
SHOPPERS_AT_ONCE = 100  # weights [100, 40,000] in float32 are 16 MB
SMALLEST_REMAINDER = 1e-6  # float32 cannot tell 1 − Σp from 0 below this


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


def distinct_in_order(items: Array) -> Array:
    """The items in the order they were first bought, each once."""
    _, first = np.unique(items, return_index=True)
    return items[np.sort(first)]


def prior_choices(model: ChoiceModel, samples: int) -> Array:
    """p_z of tastes drawn from the prior N(0, I), the same ones every time: float32 [items, samples]."""
    generator = np.random.default_rng(SAMPLING_SEED)
    tastes = generator.standard_normal((samples, model.loadings.shape[1]), dtype=np.float32)
    return np.ascontiguousarray(model.probabilities(tastes).T)


def sequence_log_likelihood(choices: Array, history: Array) -> tuple[Array, Array]:
    """Plackett–Luce log-likelihood of a history under each sample, and the probability still unbought.

    choices: float32 [items, samples], each column a distribution. history: distinct items in order [n].
    Returns log P(history | sample) and 1 − Σ_{j∈history} p(j), both [samples].
    """
    picked = choices[history]  # [n, samples]
    remaining = 1.0 - np.cumsum(picked, axis=0)
    np.maximum(remaining, SMALLEST_REMAINDER, out=remaining)
    log_likelihood = np.log(picked).sum(axis=0) - np.log(remaining[:-1]).sum(axis=0)
    return log_likelihood, remaining[-1]


def history_scores(choices: Array, histories: list[Array]) -> tuple[Array, Array]:
    """Posterior predictive of each shopper's next new item, and how many samples each posterior rests on.

    choices: float32 [items, samples], p_z of tastes drawn from the prior. histories: distinct items in order,
    one non-empty array a shopper. Returns float32 [shoppers, items], bought items 0 and rows summing to 1,
    and the effective sample size (Σw)² / Σw² [shoppers].
    """
    scores = np.empty((len(histories), len(choices)), dtype=np.float32)
    effective = np.empty(len(histories))
    for start in range(0, len(histories), SHOPPERS_AT_ONCE):
        block = histories[start : start + SHOPPERS_AT_ONCE]
        weights = np.empty((len(block), choices.shape[1]), dtype=np.float32)
        for row, history in enumerate(block):
            log_likelihood, remaining = sequence_log_likelihood(choices, history)
            weight = np.exp(log_likelihood - log_likelihood.max())
            weight /= weight.sum()
            effective[start + row] = 1.0 / np.square(weight).sum()
            weights[row] = weight / remaining
        predicted = weights @ choices.T  # [block, samples] @ [samples, items]
        for row, history in enumerate(block):
            predicted[row, history] = 0.0
        scores[start : start + len(block)] = predicted
    return scores, effective


def oracle_scores(model: ChoiceModel, tastes: Array, histories: list[Array]) -> Array:
    """Probability of each next new item for one who knows the tastes [shoppers, K]: [shoppers, items]."""
    scores: Array = model.probabilities(tastes)
    for row, history in enumerate(histories):
        scores[row, history] = 0.0
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def rank_of(scores: Array, wanted: Array, histories: list[Array]) -> Array:
    """Rank of each wanted item [shoppers] among the items not in the history: 1 + better + half the ties."""
    scores = scores.copy()
    for row, history in enumerate(histories):
        scores[row, history] = -np.inf
    own = np.take_along_axis(scores, wanted[:, None], axis=1)
    better: Array = (scores > own).sum(axis=1)
    ties: Array = (scores == own).sum(axis=1) - 1
    ranks: Array = 1.0 + better + 0.5 * ties
    return ranks


def ranking_metrics(ranks: Array) -> dict[str, float]:
    """Hit rate and NDCG at 10 of ranks [shoppers] with one relevant item each; NaN where there are none."""
    if len(ranks) == 0:
        return {f"hr@{CUTOFF}": float("nan"), f"ndcg@{CUTOFF}": float("nan")}
    hits = ranks <= CUTOFF
    gains = np.where(hits, 1.0 / np.log2(1.0 + ranks), 0.0)
    return {f"hr@{CUTOFF}": float(hits.mean()), f"ndcg@{CUTOFF}": float(gains.mean())}


def measured_shoppers(train: Events, test_items: Array) -> Array:
    """At most 2,000 shoppers with a test item and a history, always the same ones: sorted indices."""
    tested = np.flatnonzero((np.asarray(test_items) >= 0) & (train.counts > 0))
    if len(tested) > MOST_SHOPPERS:
        tested = np.sort(np.random.default_rng(SAMPLING_SEED).choice(tested, MOST_SHOPPERS, replace=False))
    return tested


def ceilings(
    model: ChoiceModel, tastes: Array, train: Events, test_items: Array, samples: int = PRIOR_SAMPLES
) -> dict[str, dict[str, float]]:
    """HR@10 and NDCG@10 of the oracle and of the best use of the training history.

    tastes: [devices, K], the true ones. test_items: int [devices], the next new item after the training
    events, −1 where none. Raises ValueError where the three disagree on the number of devices or a test item
    is among its shopper's training items.
    """
    if not len(tastes) == train.num_devices == len(test_items):
        raise ValueError(
            f"{len(tastes)} tastes, {train.num_devices} devices and {len(test_items)} test items: "
            "a ceiling needs one of each a device"
        )
    shoppers = measured_shoppers(train, test_items)
    wanted = np.asarray(test_items)[shoppers]
    held = train.take(shoppers)
    histories = [
        distinct_in_order(held.items[a:b]) for a, b in zip(held.offsets, held.offsets[1:], strict=False)
    ]
    if any(item in history for item, history in zip(wanted, histories, strict=True)):
        raise ValueError("a test item is among the training items: a ceiling is for items not bought before")
    predicted, effective = history_scores(prior_choices(model, samples), histories)
    if len(effective):
        logger.info(
            "towel ceilings: %d shoppers, %d prior samples, median effective sample size %.0f",
            len(shoppers),
            samples,
            np.median(effective),
        )
    known = oracle_scores(model, tastes[shoppers], histories)
    return {
        "oracle": ranking_metrics(rank_of(known, wanted, histories)),
        "history": ranking_metrics(rank_of(predicted, wanted, histories)),
    }
