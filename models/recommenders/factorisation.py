"""Factorisation: a score is the shopper's vector times the sum of the item's bag of rows, plus its bias."""

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.bag import NOTHING, Bag
from terrycloth.models.recommenders.kinds import Solver
from terrycloth.models.recommenders.recommender import Recommender


class Factorisation(Recommender):
    """score(u, i) = x_u · Σ_{r ∈ bag(i)} table_r + bias_i.

    table [rows, dim] and bias [items, 1] are shared. `mf` and `attributes` are this model with two bags.
    """

    loss = "squared"
    solver = Solver.LEAST_SQUARES

    def __init__(self, bag: Bag, dim: int, *, item_bias: bool = True) -> None:
        super().__init__(bag.num_items, dim)
        self.bag = bag
        self.table = nn.Embedding(bag.num_rows, dim)
        self.bias = nn.Embedding(bag.num_items, 1) if item_bias else None
        # Non-persistent buffers: they follow the module to another device, and are no parameters.
        self.register_buffer("rows", bag.rows.clamp(min=0), persistent=False)
        self.register_buffer("present", (bag.rows != NOTHING).float(), persistent=False)
        self.register_buffer("incidence", bag.incidence(), persistent=False)
        self.rows: Tensor
        self.present: Tensor
        self.incidence: Tensor

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """[batch, candidates]; padding of short bags is multiplied by zero, gradient included."""
        batch, candidates = items.shape
        rows = self.table(self.rows[items].flatten(1))  # [batch, candidates · longest, dim]
        rows = rows.reshape(batch, candidates, self.rows.shape[1], self.dim)
        candidate_vectors = (rows * self.present[items].unsqueeze(-1)).sum(dim=2)
        scores = torch.einsum("bd,bcd->bc", vectors, candidate_vectors)
        return scores if self.bias is None else scores + self.bias(items).squeeze(-1)

    def item_vectors(self) -> Tensor:
        """[items, dim]: each item's bag summed."""
        vectors: Tensor = torch.sparse.mm(self.incidence, self.table.weight)
        return vectors

    def item_biases(self) -> Tensor:
        """[items]; zeros where the model has no bias."""
        if self.bias is None:
            return torch.zeros(self.num_items, device=self.table.weight.device)
        return self.bias.weight.squeeze(-1)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """[shoppers, items]."""
        return vectors @ self.item_vectors().T + self.item_biases()

    def explain(self, vector: Tensor, item: int) -> dict[str, float]:
        """The exact parts of a score, by name: they sum to score_catalogue(vector)[item]. vector: [dim]."""
        parts = {
            self.bag.names[row]: float(self.table.weight.detach()[row] @ vector)
            for row in self.bag.rows[item].tolist()
            if row != NOTHING
        }
        if self.bias is not None:
            parts["liked by everyone"] = float(self.bias.weight.detach()[item, 0])
        return parts
