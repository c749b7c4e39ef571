"""Shopper level: all that a device holds is one example (McMahan et al. 2018, "user-level" DP-FedAvg).

Training on the device is free; its whole update is clipped to norm C, so that a device more or less changes
the sum by C at most. Where the clip is adapted (Andrew et al. 2021, "Differentially private learning with
adaptive clipping", algorithm 1) a device adds one more number, +β/2 if its update was below the clip and −β/2
if it was cut; one that holds nothing adds nothing, there too. The server sees the sum under the same noise.
"""

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.training.least_squares import LeastSquaresTrainer, blocks
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import ROUNDING, RoundSettings
from terrycloth.models.update import BELOW_CLIP


def clip_factor(squared_norm: Tensor, clip: float) -> Tensor:
    """min(1, C / norm) for squared norms [...]; 0 for one that is not finite, which then adds nothing."""
    factor = (ROUNDING * clip / squared_norm.sqrt()).clamp(max=1.0)
    return torch.where(torch.isfinite(squared_norm), factor, 0.0)


class ClippedSgdTrainer(SgdTrainer):
    """SgdTrainer with each device's whole update clipped. An infinite clip gives SgdTrainer back."""

    def released(self, update: Parameters) -> Parameters:
        """Over all arrays together; a device whose training diverged adds zeros."""
        squares = torch.stack([part.square().sum() for part in update.values()]).sum()
        factor = clip_factor(squares, self.settings.clip)
        finite = bool(torch.isfinite(squares))
        clipped = {name: factor * part if finite else torch.zeros_like(part) for name, part in update.items()}
        if not self.settings.adapts_clip:
            return clipped
        return clipped | {BELOW_CLIP: indicators(factor, squares > 0, self.settings).reshape(1)}


def indicators(factor: Tensor, holds: Tensor, settings: RoundSettings) -> Tensor:
    """±β/2 for updates below and above the clip [...], by their `clip_factor`; 0 where nothing is held."""
    return torch.where(holds, settings.indicator * (torch.where(factor == 1.0, 0.5, -0.5)), 0.0)


class ClippedLeastSquaresTrainer(LeastSquaresTrainer):
    """LeastSquaresTrainer with each device's whole update clipped, for all devices at once.

    With g_u = ∂L_u/∂s_u over the catalogue, device u's gradient is Bᵀg_u ⊗ x_u in the table (B: items × rows)
    and g_u in the biases: its norm needs no array of the update's size, √(|Bᵀg_u|²·|x_u|² + |g_u|²).
    """

    def released(self, confidence: scipy.sparse.csr_matrix, vectors: Tensor) -> Parameters:
        """The clipped negative gradients, added up in blocks of devices."""
        item_vectors, item_biases = self.model.item_vectors(), self.model.item_biases()
        rows_of_items = self.model.incidence.t().coalesce()
        table = torch.zeros(len(rows_of_items), vectors.shape[1], dtype=torch.float64)
        bias = torch.zeros(len(item_biases), dtype=torch.float64)
        below = torch.zeros(1, dtype=torch.float64)
        for block in blocks(len(vectors), 4 * sum(rows_of_items.shape)):
            own = vectors[block].T  # [dim, block]: a device is a column, as the sparse product wants it
            scores = torch.addmm(item_biases.unsqueeze(1), item_vectors, own)  # [items, block]
            by_item = score_gradient(confidence[block], scores, self.settings.catalogue_weight)
            by_row = torch.sparse.mm(rows_of_items, by_item)  # [rows, block]
            # In double: of a tiny gradient and a huge vector, one square alone would be 0 in single.
            own, by_item, by_row = own.double(), by_item.double(), by_row.double()
            squares = squared_norms(by_row) * squared_norms(own)
            if self.model.bias is not None:
                squares = squares + squared_norms(by_item)
            # One that holds nothing adds nothing, like one that is not there.
            holds = torch.from_numpy(np.diff(confidence[block].indptr) > 0)
            factor = torch.where(holds, clip_factor(squares, self.settings.clip), 0.0)
            broken = ~torch.isfinite(squares)
            if broken.any():  # 0 times what is no number would be none
                own, by_item, by_row = (torch.where(broken, 0.0, part) for part in (own, by_item, by_row))
            table.addmm_(by_row, (factor * own).T)
            bias.addmv_(by_item, factor)
            below += indicators(factor, holds, self.settings).double().sum()
        update = self.named(table, bias)
        return update | ({BELOW_CLIP: below} if self.settings.adapts_clip else {})


def squared_norms(columns: Tensor) -> Tensor:
    """|column|² of each column. In double precision that of every single-precision number is more than 0."""
    return columns.square().sum(dim=0)


def score_gradient(confidence: scipy.sparse.csr_matrix, scores: Tensor, catalogue_weight: float) -> Tensor:
    """∂L_u/∂s_u = 2 α s_u − 2 c_u (1 − s_u): [items, devices], from scores [items, devices]."""
    pairs = confidence.tocoo()
    devices, items = (torch.from_numpy(part.astype(np.int64)) for part in (pairs.row, pairs.col))
    gradient = 2.0 * catalogue_weight * scores
    gradient[items, devices] -= 2.0 * torch.from_numpy(pairs.data) * (1.0 - scores[items, devices])
    return gradient
