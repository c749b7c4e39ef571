"""EASE: a linear autoencoder of the purchase matrix, in closed form and without privacy.

The weights are B = I − P diag(P)⁻¹ with P = (XᵀX + λI)⁻¹ (Steck 2019, "Embarrassingly shallow autoencoders
for sparse data", equation 8), where X is the 0/1 matrix of which shopper has which item. The implementation
is irspack's. (LensKit also has EASE but needs pandas 2, and this project uses pandas 3.) A shopper's scores
are the product of B and a row of the shopper's items in which newer purchases weigh more.
"""

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.profiles import profiles
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer

LAMBDA = "lambda"

# EASE keeps a few dense arrays of items² numbers, about 6 GB in all at this size. Its time grows with items³.
MOST_ITEMS = 20_000

FITS = tuple({LAMBDA: value} for value in (100.0, 300.0, 1000.0, 3000.0))
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 1.0, 2.0, 5.0, 10.0, 30.0))


def fit_ease(context: Context, settings: Settings) -> Serve:
    """Fit the weights of EASE; an item scores the sum of its weights with the shopper's items."""
    from irspack.recommenders.dense_slim import DenseSLIMRecommender

    has = profiles(context.train, context.num_items)
    fitted = DenseSLIMRecommender(has, reg=settings[LAMBDA]).learn()
    return by_weights(np.ascontiguousarray(fitted.W, dtype=np.float32))


def by_weights(weights: np.ndarray) -> Serve:
    """Return a `Serve` whose scores are rows of `profiles` times weights [items, items], dense or sparse."""

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            scores = profiles(events, weights.shape[0], served[HALF_LIFE]) @ weights
            scores = scores.toarray() if scipy.sparse.issparse(scores) else scores
            return torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))

        return scorer

    return serve
