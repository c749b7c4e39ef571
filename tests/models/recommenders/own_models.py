"""Models as another package would write them."""

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.recommender import Recommender

NOT_A_MODEL = 3


class Gated(Recommender):
    """score(u, i) = x_u · tanh(v_i) + b_i: no bag of rows."""

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
    """Its short name is taken."""
