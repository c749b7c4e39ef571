"""Models written as another package would write them."""

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.recommender import Recommender

NOT_A_MODEL = 3


class Gated(Recommender):
    """score(u, i) = x_u · tanh(v_i) + b_i, without a bag of rows."""

    loss = "logistic"

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__(num_items, dim)
        self.items = nn.Embedding(num_items, dim)
        self.bias = nn.Embedding(num_items, 1)

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        rows = torch.tanh(self.items(items))
        return (vectors.unsqueeze(1) * rows).sum(dim=-1) + self.bias(items).squeeze(-1)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        return vectors @ torch.tanh(self.items.weight).T + self.bias.weight.squeeze(-1)


class Linear(Gated):
    """A model whose short name is already taken."""


class AboveTheMean(Recommender):
    """score(u, i) = x_u · (v_i − mean of all v) + b_i: every score reads the whole table."""

    loss = "squared"
    looks_up_rows = False

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__(num_items, dim)
        self.items = nn.Embedding(num_items, dim)
        self.bias = nn.Embedding(num_items, 1)

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        rows = self.items(items) - self.items.weight.mean(dim=0)
        return (vectors.unsqueeze(1) * rows).sum(dim=-1) + self.bias(items).squeeze(-1)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        return vectors @ (self.items.weight - self.items.weight.mean(dim=0)).T + self.bias.weight.squeeze(-1)


class WholeProduct(AboveTheMean):
    """The same scores times a factor, computed as a product with the whole table and then selected."""

    loss = "logistic"

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__(num_items, dim)
        self.factor = nn.Parameter(torch.ones(1))  # outside every layer

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        return self.score_catalogue(vectors).gather(1, items)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        return self.factor * super().score_catalogue(vectors)


class Centred(Gated):
    """A model that reads the whole table for each score undeclared, so that batches train it differently."""

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        return self.score_catalogue(vectors).gather(1, items)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        return vectors @ (self.items.weight - self.items.weight.mean(dim=0)).T
