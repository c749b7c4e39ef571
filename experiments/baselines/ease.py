"""EASE: a linear autoencoder of who has what, in closed form, with no privacy at all.

B = I − P diag(P)⁻¹, P = (XᵀX + λI)⁻¹, of Steck 2019, "Embarrassingly shallow autoencoders for sparse data",
equation 8, on the 0/1 matrix X of who has what; by irspack. (LensKit has it too, but asks for pandas 2; this
project has 3.) A shopper is served by B and a row in which newer purchases weigh more.
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

# It keeps a few dense arrays of items² numbers: at so many items some 6 GB in all; its time grows with the
# cube.
MOST_ITEMS = 20_000

FITS = tuple({LAMBDA: value} for value in (100.0, 300.0, 1000.0, 3000.0))
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 1.0, 2.0, 5.0, 10.0, 30.0))


def fit_ease(context: Context, settings: Settings) -> Serve:
    """Scores a shopper by the weights of what the shopper has."""
    from irspack.recommenders.dense_slim import DenseSLIMRecommender

    has = profiles(context.train, context.num_items)
    fitted = DenseSLIMRecommender(has, reg=settings[LAMBDA]).learn()
    return by_weights(np.ascontiguousarray(fitted.W, dtype=np.float32))


def by_weights(weights: np.ndarray) -> Serve:
    """Rows of `profiles` times weights [items, items], dense or sparse."""

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            found = profiles(events, weights.shape[0], served[HALF_LIFE]) @ weights
            found = found.toarray() if scipy.sparse.issparse(found) else found
            return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))

        return scorer

    return serve
