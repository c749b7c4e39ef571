"""The same model trained centrally without privacy: what federation and its promise cost."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.serving import Serving, serving_vectors
from terrycloth.client.training.co_occurrence import packed_co_occurrence, popularity_sum
from terrycloth.client.training.least_squares import confidences
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.head import head_items
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder
from terrycloth.models.recommenders.recommender import Recommender, interaction_loss

CENTRAL_STEPS = 200
CENTRAL_LEARNING_RATE = 0.05


def model_scorer(model: Recommender, serving: Serving) -> Scorer:
    """Scores by the model's shared parameters and a vector fitted to each shopper's own events."""

    def scorer(events: Events) -> Tensor:
        vectors = serving_vectors(model, events, serving)
        with torch.no_grad():
            return model.score_catalogue(vectors)

    return scorer


def train_centrally(
    model: Recommender,
    train: Events,
    serving: Serving,
    *,
    weight_decay: float = 0.0,
    kernel_half_life: float = 0.0,
    now: int = 0,
    popularity_half_life: float = 0.0,
    popularity_norm: float = 0.0,
    seed: int = 0,
    step: Callable[[], None] | None = None,
) -> None:
    """Fit `model` in place on pooled events, by Adam on shared parameters and shopper vectors together.

    The objective is the one that devices descend, but nothing of the federated code is used to reach it: the
    gradient comes from autograd, and the vectors are descended rather than solved. The linear model is two
    sums, to which the half-lives, `now` and the norm belong (client/training/co_occurrence.py). step: called
    after each of the CENTRAL_STEPS steps.
    """
    if isinstance(model, LinearAutoencoder):
        popularity = popularity_sum(
            train, model.num_items, now=now, half_life=popularity_half_life, norm=popularity_norm
        ).float()  # as it would be released
        head = head_items(popularity, model.head_size).numpy()
        gram = packed_co_occurrence(train, head, model.num_items, kernel_half_life)
        sums = {"popularity": popularity, "gram": gram}
        model.load_shared({name: total / train.num_devices for name, total in sums.items()})
        return
    confidence = confidences(train, model.num_items).tocoo()
    shoppers = torch.from_numpy(confidence.row.astype(np.int64))
    items = torch.from_numpy(confidence.col.astype(np.int64))
    weights = torch.from_numpy(confidence.data)
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(train.num_devices, model.dim, generator=generator) * 0.1
    vectors.requires_grad_()
    shared = [parameter for name, parameter in model.named_parameters() if not name.startswith("shopper")]
    optimizer = torch.optim.Adam([vectors, *shared], lr=CENTRAL_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, CENTRAL_STEPS)
    for _ in range(CENTRAL_STEPS):
        optimizer.zero_grad()
        if isinstance(model, Factorisation):
            loss = _whole_catalogue_loss(model, vectors, shoppers, items, weights, serving.catalogue_weight)
        else:
            negatives = torch.randint(model.num_items, (len(items), 4), generator=generator)
            candidates = torch.cat([items.unsqueeze(1), negatives], dim=1)
            scores = model.score_candidates(vectors[shoppers], candidates)
            loss = interaction_loss(scores, weights, serving.negative_weight, model.loss).sum()
        loss = loss + serving.regularisation * vectors.square().sum()
        # What a server's weight decay, a gradient beside the mean over devices, descends.
        penalty = torch.stack([parameter.square().sum() for parameter in shared]).sum()
        loss = loss + 0.5 * weight_decay * train.num_devices * penalty
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step is not None:
            step()


def _whole_catalogue_loss(
    model: Factorisation,
    vectors: Tensor,
    shoppers: Tensor,
    items: Tensor,
    weights: Tensor,
    catalogue_weight: float,
) -> Tensor:
    """Σ_u L_u of `training.least_squares`, without its regularisation, as autograd can follow it."""
    item_vectors, biases = model.item_vectors(), model.item_biases()
    # index_select: its gradient is several times as fast as that of plain indexing.
    pairs = vectors.index_select(0, shoppers) * item_vectors.index_select(0, items)
    scores = pairs.sum(dim=1) + biases.index_select(0, items)
    # Σ_ui s_ui² = tr((XᵀX)(VᵀV)) + 2 (Σ_u x_u)·(Vᵀb) + N |b|²
    everywhere = ((vectors.T @ vectors) * (item_vectors.T @ item_vectors)).sum()
    everywhere = everywhere + 2.0 * vectors.sum(dim=0) @ (item_vectors.T @ biases)
    everywhere = everywhere + len(vectors) * biases.square().sum()
    return (weights * (1.0 - scores).square()).sum() + catalogue_weight * everywhere
