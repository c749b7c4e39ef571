"""The one-round model: a low-rank linear autoencoder from the sum of the shoppers' outer products.

A linear autoencoder's loss is quadratic, so its gradient at zero, each device's x̂x̂ᵀ, is all a server needs
(as in EASE: Steck 2019, equation 8). With x̂ = x/|x|, x the 0/1 row of bought items, x̂x̂ᵀ has Frobenius norm
1, and so has its upper triangle packed with the entries off the diagonal times √2. Noise of deviation s on
the packed entries is a symmetric matrix with deviation s on its diagonal and s/√2 off it, whose eigenvalues
stay below s·√(2M) for M items (Wigner's semicircle: Anderson, Guionnet & Zeitouni 2010, theorem 2.1.22).
Eigenvectors above that edge are kept, by a rule that reads nothing but the released matrix.
"""

import torch
from torch import Tensor, nn

from models.recommender import Recommender

MOST_ITEMS = 5_000  # M² numbers and an eigendecomposition of them: beyond, work in another space


class LinearAutoencoder(Recommender):
    """score(u, ·) = x̂_u V Vᵀ, with V the kept eigenvectors of the mean of x̂x̂ᵀ.

    gram [items · (items + 1) / 2] is shared: the packed mean. A shopper's vector is its own row [items], at
    serving weighted by how often and how lately. `dim` is the most eigenvectors kept. noise_deviation: s, of
    the noise in `gram`; 0 without any.
    """

    loss = "squared"

    def __init__(self, item_names: list[str], dim: int, *, noise_deviation: float = 0.0) -> None:
        super().__init__(len(item_names), dim)
        self.item_names = item_names
        self.noise_deviation = noise_deviation
        self.gram = nn.Parameter(torch.zeros(self.num_items * (self.num_items + 1) // 2))
        self._kept: tuple[int, Tensor] | None = None

    def initialise_parameter(self, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
        """At zero, where the gradient is taken."""
        nn.init.zeros_(parameter)

    @property
    def eigenvectors(self) -> Tensor:
        """V [items, kept]: of eigenvalues above the noise's edge, `dim` at most; found once a gram."""
        version = self.gram._version
        if self._kept is None or self._kept[0] != version:
            values, vectors = torch.linalg.eigh(unpacked(self.gram.detach(), self.num_items))
            edge = self.noise_deviation * (2.0 * self.num_items) ** 0.5
            kept = vectors[:, values > max(edge, 1e-9)][:, -self.dim :]
            self._kept = (version, kept)
        return self._kept[1]

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """[shoppers, items] for rows x̂ [shoppers, items]."""
        kept = self.eigenvectors
        return (vectors @ kept) @ kept.T

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """[batch, candidates] for rows x̂ [batch, items]."""
        return self.score_catalogue(vectors).gather(1, items)

    def explain(self, vector: Tensor, item: int) -> dict[str, float]:
        """What each item of the shopper's row adds to the score; the parts sum to it. vector: [items]."""
        kept = self.eigenvectors
        parts = vector * (kept @ kept[item])
        named: dict[str, float] = {}
        for own in vector.nonzero().flatten().tolist():
            name = f"you have {self.item_names[own]}"
            named[name] = named.get(name, 0.0) + float(parts[own])  # two items may share a title
        return named


def packed(matrix: Tensor) -> Tensor:
    """The upper triangle [items · (items + 1) / 2] of a symmetric matrix, off the diagonal times √2."""
    rows, columns = torch.triu_indices(*matrix.shape)
    return matrix[rows, columns] * torch.where(rows == columns, 1.0, 2.0**0.5)


def unpacked(triangle: Tensor, items: int) -> Tensor:
    """The symmetric matrix [items, items] that `packed` packed."""
    rows, columns = torch.triu_indices(items, items)
    values = triangle / torch.where(rows == columns, 1.0, 2.0**0.5)
    matrix = torch.zeros(items, items)
    matrix[rows, columns] = values
    matrix[columns, rows] = values
    return matrix
