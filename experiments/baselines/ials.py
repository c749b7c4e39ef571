"""iALS: factorisation of implicit feedback by alternating least squares, without privacy.

The method is that of Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets",
with the confidences c = 1 + α log₂(1 + quantity). The implementation is the package implicit. At serving, a
shopper's vector is solved from the shopper's items, as for a new shopper (the fold-in of that paper). There
an item's confidence decays with the number of visits since its last purchase.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.least_squares import confidences
from terrycloth.client.training.profiles import profiles
from terrycloth.experiments.baselines.row import HALF_LIFE, Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer

FACTORS, REGULARISATION, ALPHA, ITERATIONS = "factors", "regularisation", "alpha", "iterations"

FITS: tuple[Settings, ...] = tuple(
    {FACTORS: factors, REGULARISATION: regularisation, ALPHA: alpha, ITERATIONS: 15.0}
    for factors in (32.0, 96.0)
    for regularisation, alpha in ((3.0, 1.0), (10.0, 1.0), (100.0, 8.0))
)
SERVES = tuple({HALF_LIFE: visits} for visits in (0.0, 1.5, 3.0, 10.0))


def fit_ials(context: Context, settings: Settings) -> Serve:
    """Fit the items' vectors; a score is the product of a shopper's vector and an item's vector."""
    from implicit.cpu.als import AlternatingLeastSquares

    def confidence(events: Events, half_life: float) -> scipy.sparse.csr_matrix:
        matrix = confidences(events, context.num_items)
        matrix.data = 1.0 + settings[ALPHA] * matrix.data
        return matrix.multiply(profiles(events, context.num_items, half_life)).tocsr()

    with one_blas_thread():
        model = AlternatingLeastSquares(
            factors=int(settings[FACTORS]),
            regularization=settings[REGULARISATION],
            iterations=int(settings[ITERATIONS]),
            num_threads=torch.get_num_threads(),
            random_state=0,
        )
        model.fit(confidence(context.train, 0.0), show_progress=False)

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            with one_blas_thread():
                held = confidence(events, served[HALF_LIFE])
                vectors = model.recalculate_user(np.arange(events.num_devices), held)
            return torch.from_numpy(vectors @ model.item_factors.T)

        return scorer

    return serve


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread, because implicit uses its own threads and warns about more BLAS threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield
