"""A model in a package of its own: a shopper has two tastes, and an item is scored by both."""

from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.recommender import Loss, Recommender


class TwoTastes(Recommender):
    """score(u, i) = softplus(a_u · v_i) + softplus(b_u · w_i) + c_i.

    The shopper's private vector is (a_u, b_u). If one taste dislikes an item that the other likes, the
    score falls only a little. The shared parameters are the item vectors (v_i, w_i) and the biases c_i.
    """

    loss: ClassVar[Loss] = "squared"

    def __init__(self, num_items: int, dim: int) -> None:
        """Create the tables. Raise ValueError if the two tastes cannot be equally long."""
        if dim % 2:
            raise ValueError(f"dim {dim} is odd, and a shopper has two tastes: choose an even number")
        super().__init__(num_items, dim)
        self.items = nn.Embedding(num_items, dim)
        self.bias = nn.Embedding(num_items, 1)

    def initialise_parameter(self, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
        """Set a start at which a shopper without events scores every item 0."""
        if name == "bias.weight":
            nn.init.constant_(parameter, -2 * log(2))
        else:
            nn.init.normal_(parameter, std=0.3, generator=generator)

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Return scores [batch, candidates], from the rows of `items` only: `looks_up_rows` stays True."""
        products = vectors.unsqueeze(1) * self.items(items)  # [batch, candidates, dim]
        affinities = products.unflatten(-1, (2, -1)).sum(dim=-1)  # [batch, candidates, 2]
        return nn.functional.softplus(affinities).sum(dim=-1) + self.bias(items).squeeze(-1)

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """Return scores [shoppers, items]."""
        first, second = (
            nn.functional.softplus(taste @ items.T)
            for taste, items in zip(vectors.chunk(2, dim=1), self.items.weight.chunk(2, dim=1), strict=True)
        )
        return first + second + self.bias.weight.squeeze(-1)

    def explain(self, vector: Tensor, item: int) -> dict[str, float]:
        """Return the exact parts of a score: one for each taste, and the item's bias."""
        affinities = (vector * self.items.weight[item]).unflatten(-1, (2, -1)).sum(dim=-1)
        first, second = nn.functional.softplus(affinities).tolist()
        return {"first taste": first, "second taste": second, "item": float(self.bias.weight[item])}
