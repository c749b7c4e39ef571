"""Recommending on the device. The serving vector is fitted to the device's own events and never released.

The shared parameters are already public, so this costs no privacy and needs no noise (post-processing, and
the result stays where the events are).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.least_squares import confidences, solve_vectors
from terrycloth.client.training.profiles import profiles, unit_rows
from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.recommenders.kinds import Solver
from terrycloth.models.recommenders.recommender import Recommender, interaction_loss

FIT_STEPS = 40
FIT_LEARNING_RATE = 0.1
FIT_NEGATIVES = 4
CHUNK = 2**22  # numbers of the largest array, about, for the purchases that are worked on at a time


@dataclass(frozen=True)
class Serving:
    """How a device fits its serving vector: a choice of its own, which nothing released depends on.

    catalogue_weight, regularisation: of `training.least_squares`, for models that it can solve.
    negative_weight: of the negatives drawn for the others. recency_half_life: later visits after which an
    event counts half; None: all count the same. most_events: that a device stores, the newest ones.
    """

    catalogue_weight: float
    negative_weight: float
    regularisation: float
    recency_half_life: float | None = None
    most_events: int = MOST_EVENTS


def serving_vectors(model: Recommender, events: Events, serving: Serving) -> Tensor:
    """Vectors [devices, dim] that fit each device's events, the shared parameters held still.

    For a model solved from statistics it is the device's own row of items, [devices, items], of norm 1.
    """
    return FITS[model.solver](model, events.newest(serving.most_events), serving)


def own_rows(model: Recommender, events: Events, serving: Serving) -> Tensor:
    """What each device holds, as a row of items: [devices, items], of norm 1."""
    own = profiles(events, model.num_items, serving.recency_half_life or 0.0)
    return torch.from_numpy(unit_rows(own).toarray())


def solved_vectors(model: Any, events: Events, serving: Serving) -> Tensor:
    """By least squares, in closed form: [devices, dim]."""
    with torch.no_grad():
        return solve_vectors(
            confidences(events, model.num_items, serving.recency_half_life),
            model.item_vectors(),
            model.item_biases(),
            catalogue_weight=serving.catalogue_weight,
            regularisation=serving.regularisation,
        )


def fitted_vectors(model: Recommender, events: Events, serving: Serving) -> Tensor:
    """By Adam on all devices at once, for models whose best vector has no closed form: [devices, dim].

    Devices share no parameter that moves, so the sum of their losses is minimised device by device.
    """
    confidence = confidences(events, model.num_items, serving.recency_half_life)
    pairs = confidence.tocoo()
    shoppers = torch.from_numpy(pairs.row.astype(np.int64))
    items = torch.from_numpy(pairs.col.astype(np.int64)).unsqueeze(1)
    weights = torch.from_numpy(pairs.data)
    vectors = torch.zeros(confidence.shape[0], model.dim, requires_grad=True)
    optimizer = torch.optim.Adam([vectors], lr=FIT_LEARNING_RATE)
    starts = confidence.indptr.astype(np.int64)
    place = np.arange(len(items)) - np.repeat(starts[:-1], np.diff(starts))  # of a pair, within its device
    rows = max(1, CHUNK // ((1 + FIT_NEGATIVES) * 2 * model.dim))
    for step in range(FIT_STEPS):
        # By place: what one device holds moves no draw of another, whose hits may be counted beside its own.
        draws = np.random.Generator(np.random.Philox(key=step))
        drawn = draws.integers(model.num_items, size=(int(place.max(initial=0)) + 1, FIT_NEGATIVES))
        vectors.grad = 2.0 * serving.regularisation * vectors.detach()
        for start in range(0, len(items), rows):
            some = slice(start, start + rows)
            candidates = torch.cat([items[some], torch.from_numpy(drawn[place[some]])], dim=1)
            scores = model.score_candidates(vectors[shoppers[some]], candidates)
            loss = interaction_loss(scores, weights[some], serving.negative_weight, model.loss).sum()
            vectors.grad += torch.autograd.grad(loss, [vectors])[0]  # and none in the shared parameters
        optimizer.step()
    return vectors.detach()


FITS: dict[Solver, Callable[[Any, Events, Serving], Tensor]] = {
    Solver.GRADIENT: fitted_vectors,
    Solver.LEAST_SQUARES: solved_vectors,
    Solver.STATISTICS: own_rows,
}
