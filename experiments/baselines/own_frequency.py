"""The items that the shopper buys most often: a floor for splits whose targets may have been bought before.

This is the personal top list of next-basket recommendation, which few models pass (Li et al. 2023, "A next
basket recommendation reality check"). An item's score is the sum of 2^(−v/h) over the visits in which the
shopper bought it, where the visit is v visits before the last. Hu et al. 2020, "Modeling personalized item
frequency information for next-basket recommendation", use the same decay. A small amount of recent popularity
is added, which breaks ties and ranks the items that the shopper never bought.
"""

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.experiments.baselines.popularity import WINDOW, decayed_counts
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer

BESIDE = "popularity"  # the weight of the most popular item, relative to one purchase

FITS = tuple({WINDOW: 30.0, BESIDE: beside} for beside in (0.1, 1.0, 3.0))
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0))


def fit_own_frequency(context: Context, settings: Settings) -> Serve:
    """Score items by the shopper's own purchases plus weighted recent popularity."""
    counts = decayed_counts(context, settings[WINDOW])
    popularity = settings[BESIDE] * counts / counts.max().clamp(min=1e-30)

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            own = visits_with(events, context.num_items, served[HALF_LIFE])
            return torch.from_numpy(own.toarray()) + popularity

        return scorer

    return serve


def visits_with(events: Events, num_items: int, half_life: float) -> scipy.sparse.csr_matrix:
    """Return Σ 2^(−v/h) over the visits that contain an item: sparse float32 [devices, items].

    An item counts once per visit. half_life: h, in visits; 0 means that all visits count the same.
    """
    visits = events.visits
    repeated = np.zeros(len(events), dtype=np.bool_)  # rows of a visit are sorted by item
    repeated[1:] = (
        (events.items[1:] == events.items[:-1])
        & (visits[1:] == visits[:-1])
        & (events.devices[1:] == events.devices[:-1])
    )
    once = events.keep(~repeated)
    weights = np.ones(len(once)) if half_life == 0 else np.exp2(-once.later_visits / half_life)
    shape = (once.num_devices, num_items)
    matrix = scipy.sparse.csr_matrix(
        (weights.astype(np.float32), once.items, once.offsets), shape=shape, copy=True
    )
    matrix.sum_duplicates()
    return matrix
