"""Neural collaborative filtering (He et al. 2017, section 3.4: a product path beside a perceptron path)."""

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.recommender import Recommender


class NeuralCF(Recommender):
    """score(u, i) = out([x_u ∘ v_i ; relu(hidden([x_u ; v_i]))]).

    items [items, dim], hidden [dim, 2 · dim] and out [1, 2 · dim] are shared. Unlike the paper, both paths
    read the same vectors, so that a device keeps one.
    """

    loss = "logistic"

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__(num_items, dim)
        self.items = nn.Embedding(num_items, dim)
        self.hidden = nn.Linear(2 * dim, dim)
        self.out = nn.Linear(2 * dim, 1)

    def initialise_parameter(self, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
        """Layers as torch does by default; the product path starts as a plain inner product."""
        if name == "items.weight":
            nn.init.normal_(parameter, std=0.3, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
        if name == "out.weight":
            with torch.no_grad():
                parameter[:, : self.dim] = 1.0

    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """[batch, candidates]."""
        candidate_vectors = self.items(items)  # [batch, candidates, dim]
        return self.score_pairs(vectors.unsqueeze(1).expand_as(candidate_vectors), candidate_vectors)

    def score_pairs(self, shoppers: Tensor, items: Tensor) -> Tensor:
        """Scores [...] of paired vectors, both [..., dim]."""
        hidden = torch.relu(self.hidden(torch.cat([shoppers, items], dim=-1)))
        scores: Tensor = self.out(torch.cat([shoppers * items, hidden], dim=-1)).squeeze(-1)
        return scores

    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """[shoppers, items], a catalogue at a time for each block of shoppers."""
        catalogue = self.items.weight.unsqueeze(0)  # [1, items, dim]
        block = max(1, 2**24 // catalogue.numel())
        return torch.cat(
            [
                self.score_pairs(
                    chunk.unsqueeze(1).expand(-1, self.num_items, -1),
                    catalogue.expand(len(chunk), -1, -1),
                )
                for chunk in vectors.split(block)
            ]
        )
