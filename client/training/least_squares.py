"""Least squares: solves the shopper's vector exactly, and the shared gradient in one sparse product.

The objective of device u is that of implicit alternating least squares (Hu, Koren & Volinsky 2008, in the
form of Rendle et al. 2022, "Revisiting the performance of iALS", equation 3):

    L_u = Σ_i c_ui (1 − s_ui)² + α Σ_i s_ui² + λ |x_u|²

c_ui is the confidence in item i (0 for items that u has not bought), s_ui the score of item i, α the
catalogue weight and λ the regularisation. The minimum over x_u solves a linear system. The device sends the
gradient in the shared parameters at that minimum (Ammad-ud-din et al. 2019, "Federated collaborative
filtering"). Both are computed for all devices of a node at once, in blocks of bounded memory.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import RoundSettings

BLOCK_BYTES = 2**21  # largest size of a block of shoppers, so that it stays in a processor cache
OUTER_BYTES = 2**26  # largest size of all items' v vᵀ, from which many shoppers are solved at once


def confidences(
    events: Events, num_items: int, recency_half_life: float | None = None
) -> scipy.sparse.csr_matrix:
    """c_ui = log₂(1 + total weight of i on u): sparse float32 [devices, items], 1 for one event of weight 1.

    recency_half_life: number of later visits after which an event counts half; None: all count equally.
    """
    weights = events.weights
    if recency_half_life is not None:
        weights = weights * 0.5 ** (events.later_visits / recency_half_life)
    indices = (events.items, events.offsets)
    shape = (events.num_devices, num_items)
    matrix = scipy.sparse.csr_matrix((weights.astype(np.float32), *indices), shape=shape, copy=True)
    matrix.sum_duplicates()
    matrix.data = np.log2(1.0 + matrix.data).astype(np.float32)
    return matrix


def solve_vectors(
    confidence: scipy.sparse.csr_matrix,
    item_vectors: Tensor,
    item_biases: Tensor,
    *,
    catalogue_weight: float,
    regularisation: float,
) -> Tensor:
    """The vectors [devices, dim] that minimise each device's objective, from confidences [devices, items].

    (Σ_i c_ui v_i v_iᵀ + α VᵀV + λ I) x_u = Σ_i c_ui (1 − b_i) v_i − α Vᵀ b

    The sums over c_ui are 0 for a device without events. item_vectors: V [items, dim]. item_biases: b
    [items].
    """
    items, dim = item_vectors.shape
    vectors, biases = item_vectors.numpy(), item_biases.numpy()
    shared = catalogue_weight * vectors.T @ vectors
    shared[np.diag_indices(dim)] += np.float32(regularisation)
    push = catalogue_weight * (vectors.T @ biases)
    pulled = confidence.copy()
    pulled.data *= 1.0 - biases[pulled.indices]
    if 4 * items * dim * dim > OUTER_BYTES:
        return solve_in_turn(confidence, pulled, vectors, shared, push)
    outer = (vectors[:, :, None] * vectors[:, None, :]).reshape(items, dim * dim)
    solved = []
    for block in blocks(confidence.shape[0], 4 * dim * dim):
        quadratic = (confidence[block] @ outer).reshape(-1, dim, dim)
        targets = torch.from_numpy(np.asarray(pulled[block] @ vectors - push))
        # An exception would reveal that a device's events make its matrix singular, so its vector is 0.
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(shared + quadratic))
        vectors_of_block = torch.cholesky_solve(targets.unsqueeze(-1), factor).squeeze(-1)
        sound = (failed == 0) & torch.isfinite(vectors_of_block).all(dim=1)
        solved.append(torch.where(sound.unsqueeze(1), vectors_of_block, 0.0))
    return torch.cat(solved) if solved else torch.zeros(0, dim)


def solve_in_turn(
    confidence: scipy.sparse.csr_matrix,
    pulled: scipy.sparse.csr_matrix,
    vectors: npt.NDArray[np.float32],
    shared: npt.NDArray[np.float32],
    push: npt.NDArray[np.float32],
) -> Tensor:
    """As `solve_vectors`, for long vectors: one device's matrix at a time is in memory, solved in place."""
    solved = torch.zeros(confidence.shape[0], vectors.shape[1])
    for device in range(len(solved)):
        matrix = torch.from_numpy(shared.copy())
        places = np.arange(*confidence.indptr[device : device + 2])
        for block in blocks(len(places), 4 * vectors.shape[1]):
            own = torch.from_numpy(vectors[confidence.indices[places[block]]])
            matrix.addmm_((own * torch.from_numpy(confidence.data[places[block], None])).T, own)
        target = np.asarray(pulled[[device]] @ vectors)[0] - push
        # The matrix is symmetric, so its transpose is the same matrix in LAPACK's column order.
        _, vector, failed = scipy.linalg.lapack.sposv(matrix.numpy().T, target, overwrite_a=True)
        if failed == 0 and np.isfinite(vector).all():  # 0 otherwise, as in `solve_vectors`
            solved[device] = torch.from_numpy(vector.reshape(-1))
    return solved


def blocks(rows: int, row_bytes: int) -> Iterator[slice]:
    """Yield slices over `rows` rows, each of at most BLOCK_BYTES but at least one row."""
    size = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def shared_gradient(
    confidence: scipy.sparse.csr_matrix,
    vectors: Tensor,
    item_vectors: Tensor,
    item_biases: Tensor,
    catalogue_weight: float,
) -> tuple[Tensor, Tensor]:
    """Σ_u ∂L_u/∂V [items, dim] and Σ_u ∂L_u/∂b [items] at the given shopper vectors [devices, dim].

    The sum over the whole catalogue is computed through Σ_u x_u x_uᵀ, which is only dim × dim.
    """
    rows = confidence.tocoo()
    shoppers, items = torch.from_numpy(rows.row.astype(np.int64)), torch.from_numpy(rows.col.astype(np.int64))
    scores = torch.empty(len(items))
    for block in blocks(len(items), 8 * vectors.shape[1]):
        scores[block] = (vectors[shoppers[block]] * item_vectors[items[block]]).sum(dim=1)
    errors = torch.from_numpy(rows.data) * (1.0 - scores - item_biases[items])
    residual = scipy.sparse.csr_matrix(
        (errors.numpy(), confidence.indices, confidence.indptr), shape=confidence.shape
    )
    summed = vectors.sum(dim=0)
    gradient = -2.0 * torch.from_numpy(np.asarray(residual.T @ vectors.numpy()))
    gradient += (
        2.0 * catalogue_weight * (item_vectors @ (vectors.T @ vectors) + torch.outer(item_biases, summed))
    )
    bias_gradient = -2.0 * torch.from_numpy(np.asarray(residual.sum(axis=0)).reshape(-1))
    bias_gradient += 2.0 * catalogue_weight * (item_vectors @ summed + len(vectors) * item_biases)
    return gradient, bias_gradient


class LeastSquaresTrainer:
    """Trains a cohort at once; the update is the negative gradient, for the server's optimiser."""

    def __init__(self, model: Factorisation, settings: RoundSettings) -> None:
        self.model = model
        self.settings = settings

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """As `Trainer.train`, with an exact solution and no loop over devices."""
        self.model.load_shared(parameters)
        confidence = confidences(cohort.events, self.model.num_items)
        with torch.no_grad():
            vectors = solve_vectors(
                confidence,
                self.model.item_vectors(),
                self.model.item_biases(),
                catalogue_weight=self.settings.catalogue_weight,
                regularisation=self.settings.regularisation,
            )
            update = self.released(confidence, vectors)
        return update, vectors

    def released(self, confidence: scipy.sparse.csr_matrix, vectors: Tensor) -> Parameters:
        """The sum of the devices' negative gradients."""
        by_item, bias = shared_gradient(
            confidence,
            vectors,
            self.model.item_vectors(),
            self.model.item_biases(),
            self.settings.catalogue_weight,
        )
        return self.named(torch.sparse.mm(self.model.incidence.t(), by_item), bias)

    def named(self, table: Tensor, bias: Tensor) -> Parameters:
        """Return an update from the gradients in table [rows, dim] and biases [items], negated in place."""
        update = {"table.weight": table.neg_()}
        return update if self.model.bias is None else update | {"bias.weight": bias.neg_().unsqueeze(1)}
