"""The one-round model's update: Σ x̂x̂ᵀ over devices, in one sparse product."""

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from client.events import Events
from client.trainer import Cohort
from models.linear_autoencoder import packed
from models.recommender import Parameters, Recommender
from models.settings import ROUNDING, RoundSettings


def unit_rows(confidence: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Each row brought to norm 1, one that holds nothing left at zero: sparse float32 [devices, items]."""
    norms = np.sqrt(np.asarray(confidence.multiply(confidence).sum(axis=1)).reshape(-1))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return (scipy.sparse.diags(scale) @ confidence).astype(np.float32).tocsr()


def bought(events: Events, num_items: int) -> scipy.sparse.csr_matrix:
    """1 where a device has an item, however often: sparse float32 [devices, items]."""
    shape = (events.num_devices, num_items)
    ones = np.ones(len(events), dtype=np.float32)
    matrix = scipy.sparse.csr_matrix((ones, events.items, events.offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def packed_gram(events: Events, num_items: int) -> Tensor:
    """Σ_u packed(x̂_u x̂_uᵀ): [items · (items + 1) / 2]."""
    rows = unit_rows(bought(events, num_items)).astype(np.float64)
    return packed(torch.from_numpy((rows.T @ rows).toarray())).float()


class GramTrainer:
    """Each device's update has norm 1 by construction, or C where the clip C is less."""

    def __init__(self, model: Recommender, settings: RoundSettings) -> None:
        self.model = model
        self.clip = min(1.0, settings.clip) * (1.0 if settings.unit == "none" else ROUNDING)

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """`Trainer.train`: it does not depend on the parameters, so one round says all."""
        return {"gram": self.clip * packed_gram(cohort.events, self.model.num_items)}, cohort.vectors
