"""A model that terrycloth does not have: a shopper has two tastes, and an item is scored by both."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.recommender import Loss, Recommender


class TwoTastes(Recommender):
    """score(u, i) = softplus(a_u · v_i) + softplus(b_u · v_i) + c_i.

    The shopper's private vector holds the tastes a_u and b_u, half of its numbers each, so that a shopper
    who likes two kinds of item needs no vector between them. Shared are the item vectors v and biases c.
    """

    loss: ClassVar[Loss] = "squared"

    def __init__(self, num_items: int, dim: int) -> None:
        """Make the tables. Raises ValueError if the two tastes cannot be equally long."""
        if dim % 2:
            raise ValueError(f"dim {dim} is odd, and a shopper has two tastes: choose an even number")
        super().__init__(num_items, dim)
        self.items = nn.Embedding(num_items, dim // 2)
        self.bias = nn.Embedding(num_items, 1)

    def initialise_parameter(self, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
        """Larger item vectors than by default, because a shopper starts at zero."""
        nn.init.normal_(parameter, std=0.0 if name == "bias.weight" else 0.3, generator=generator)

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Scores [batch, candidates]: reads only the rows of `items`."""
        tastes = vectors.view(len(vectors), 2, -1)
        affinities = tastes @ self.items(items).transpose(1, 2)  # [batch, 2, candidates]
        return nn.functional.softplus(affinities).sum(dim=1) + self.bias(items).squeeze(-1)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """Scores [shoppers, items]."""
        tastes = vectors.view(len(vectors), 2, self.dim // 2)
        affinities = tastes @ self.items.weight.T  # [shoppers, 2, items]
        return nn.functional.softplus(affinities).sum(dim=1) + self.bias.weight.squeeze(-1)

    def explain(self, vector: Tensor, item: int) -> dict[str, float]:
        """The exact parts of a score: each taste's, and the item's own."""
        first, second = nn.functional.softplus(vector.view(2, -1) @ self.items.weight[item]).tolist()
        return {"first taste": first, "second taste": second, "item": float(self.bias.weight[item])}
