"""EASE and iALS by libraries: what pooling everybody's purchases reaches, with no privacy at all.

EASE  the item-item weights B = I − P diag(P)⁻¹, P = (XᵀX + λI)⁻¹, of Steck 2019, equation 8, on the 0/1
      matrix X of who has what; by irspack. (LensKit has it too, but asks for pandas 2; this project has 3.)
iALS  Hu, Koren & Volinsky 2008, with their confidences c = 1 + α log₂(1 + quantity); by implicit

Their settings are chosen from the grids below by NDCG@10 over the whole catalogue on one more purchase of
each shopper, held out of the training events (`split.validation_split`). With them all training events are
fitted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import product

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from client.co_occurrence import purchases
from client.events import Events
from client.least_squares import confidences
from experiments.evaluate import Metrics, Scorer, evaluate
from experiments.split import Split, validation_split

# EASE keeps a few dense arrays of items² numbers: at so many items some 12 GB in all, and its time grows with
# the cube.
MOST_EASE_ITEMS = 20_000

Settings = dict[str, float]
Fit = Callable[[Events, int, Settings], Scorer]

EASE_GRID: list[Settings] = [{"lambda": value} for value in (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)]
IALS_GRID: list[Settings] = [
    {"factors": factors, "regularisation": regularisation, "alpha": alpha, "iterations": 10}
    for factors, regularisation, alpha in product((8, 32, 64), (10.0, 100.0), (1.0, 4.0, 16.0))
]
IALS_ITERATIONS = (5, 20, 40)  # tried for the best of the grid


def missing() -> str | None:
    """Why they cannot be fitted here, or None."""
    if find_spec("irspack") is None or find_spec("implicit") is None:
        return 'EASE and iALS need their libraries: pip install "terrycloth[baselines]"'
    return None


def too_many_items(num_items: int) -> str | None:
    """Why EASE is left out, or None."""
    if num_items <= MOST_EASE_ITEMS:
        return None
    return (
        f"EASE keeps dense arrays of items² numbers, and {num_items:,} items are more than "
        f"{MOST_EASE_ITEMS:,}, so it is left out; a part of the catalogue would fit"
    )


def fit_ease(events: Events, num_items: int, settings: Settings) -> Scorer:
    """Scores a shopper by the weights of what the shopper has."""
    from irspack.recommenders.dense_slim import DenseSLIMRecommender

    fitted = DenseSLIMRecommender(has(events, num_items), reg=settings["lambda"]).learn()
    weights = np.ascontiguousarray(fitted.W, dtype=np.float32)  # [items, items]

    def scorer(held: Events) -> Tensor:
        return torch.from_numpy(has(held, num_items) @ weights)

    return scorer


def fit_ials(events: Events, num_items: int, settings: Settings) -> Scorer:
    """Scores a shopper by a vector solved from what the shopper holds, as a new one would be."""
    from implicit.cpu.als import AlternatingLeastSquares

    def confidence(held: Events) -> scipy.sparse.csr_matrix:
        matrix = confidences(held, num_items)
        matrix.data = 1.0 + settings["alpha"] * matrix.data
        return matrix

    with one_blas_thread():
        model = AlternatingLeastSquares(
            factors=int(settings["factors"]),
            regularization=settings["regularisation"],
            iterations=int(settings["iterations"]),
            num_threads=torch.get_num_threads(),
            random_state=0,
        )
        model.fit(confidence(events), show_progress=False)

    def scorer(held: Events) -> Tensor:
        with one_blas_thread():
            vectors = model.recalculate_user(np.arange(held.num_devices), confidence(held))
        return torch.from_numpy(vectors @ model.item_factors.T)

    return scorer


def has(events: Events, num_items: int) -> scipy.sparse.csr_matrix:
    """1 where a device has an item, however often: sparse float32 [devices, items]."""
    matrix = purchases(events, num_items)
    matrix.data[:] = 1.0
    return matrix


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """implicit has threads of its own, and warns where those of the linear algebra would come on top."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def tuned_baselines(split: Split, num_items: int, *, sample: int = 0) -> dict[str, tuple[Metrics, Settings]]:
    """By `ease` and `ials`, accuracy on the test and the settings. sample: `evaluate`'s.

    Without EASE where `too_many_items` says why.
    """
    validation = validation_split(split, num_items)
    chosen: dict[str, Settings] = {}
    if too_many_items(num_items) is None:
        chosen["ease"], _ = best_of(EASE_GRID, fit_ease, validation, num_items, sample)
    first, reached = best_of(IALS_GRID, fit_ials, validation, num_items, sample)
    longer = [first | {"iterations": iterations} for iterations in IALS_ITERATIONS]
    second, better = best_of(longer, fit_ials, validation, num_items, sample)
    chosen["ials"] = second if better > reached else first
    found = {}
    for name, settings in chosen.items():
        scorer = FITS[name](split.train, num_items, settings)
        found[name] = (evaluate(scorer, split, num_items, sample=sample), settings)
    return found


def best_of(
    grid: list[Settings], fit: Fit, validation: Split, num_items: int, sample: int
) -> tuple[Settings, float]:
    """The first of the settings that reach the greatest NDCG@10 over the whole catalogue, and what it is."""
    reached = []
    for settings in grid:
        found = evaluate(fit(validation.train, num_items, settings), validation, num_items, sample=sample)
        ndcg = found["full"]["ndcg@10"]
        reached.append(ndcg if ndcg == ndcg else 0.0)  # NaN: nobody could be tested
    best = int(np.argmax(reached))
    return grid[best], reached[best]


FITS: dict[str, Fit] = {"ease": fit_ease, "ials": fit_ials}
