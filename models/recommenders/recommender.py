"""What every recommender here is: shared parameters, one shopper's own vector, and scores for items."""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from terrycloth.models.recommenders.kinds import Solver

Parameters = dict[str, Tensor]
Loss = Literal["squared", "logistic"]

SHOPPER = "shopper"  # the one private parameter; everything else is shared


class Recommender(nn.Module):
    """A module for one shopper: `shopper` [1, dim] is private and stays on the device, the rest is shared.

    Subclasses define the shared layers, `score_candidates` (a few items a shopper, what training needs) and
    `score_catalogue` (all items, what serving needs).

    looks_up_rows: True promises two things. `score_candidates` reads a table (`nn.Embedding`) only by looking
    up the rows of the items it is given, so that a device needs no other rows. And every shared parameter is
    used only inside a layer that Opacus has a per-sample gradient for. A model that needs a whole table, for
    instance the mean of all its rows, sets it to False; its training takes more time and memory.
    `terry check model` finds a promise that does not hold.
    """

    loss: ClassVar[Loss]
    solver: ClassVar[Solver] = Solver.GRADIENT
    looks_up_rows: ClassVar[bool] = True

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.num_items = num_items
        self.dim = dim
        self.shopper = nn.Embedding(1, dim)
        nn.init.zeros_(self.shopper.weight)

    @abstractmethod
    def score_candidates(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Scores [batch, candidates] of items, int64 [batch, candidates], for vectors [batch, dim]."""

    @abstractmethod
    def score_catalogue(self, vectors: Tensor) -> Tensor:
        """Scores [shoppers, items] of the whole catalogue for shopper vectors [shoppers, dim]."""

    def forward(self, items: Tensor) -> Tensor:
        """Scores [batch, candidates] for this device's own shopper, through layers that Opacus can follow."""
        first = torch.zeros(len(items), dtype=torch.int64, device=items.device)
        return self.score_candidates(self.shopper(first), items)

    def explain(self, vector: Tensor, item: int) -> dict[str, float] | None:
        """The exact parts of an item's score for a vector [dim], by name; None: the score has no such parts.

        The parts add up to `score_catalogue(vector)[item]`.
        """
        return None

    def shared_parameters(self) -> Parameters:
        """Name → tensor of everything that may cross to the server (detached, not copied)."""
        return {
            name: parameter.detach()
            for name, parameter in self.named_parameters()
            if not name.startswith(SHOPPER)
        }

    def load_shared(self, parameters: Parameters) -> None:
        """Copy shared parameters in. Raises ValueError when names or shapes differ."""
        shared = self.shared_parameters()
        if shapes(parameters) != shapes(shared):
            raise ValueError("these are the parameters of another model")
        with torch.no_grad():
            for name, own in shared.items():
                own.copy_(parameters[name])

    def initialise(self, seed: int) -> None:
        """Draw the shared starting point. It is public: `seed` need not be secret."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if not name.startswith(SHOPPER):
                self.initialise_parameter(name, parameter, generator)

    def initialise_parameter(self, name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
        """Small Gaussian rows, zero biases."""
        if name.endswith("bias") or name.startswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.3 / self.dim**0.5, generator=generator)


def shapes(parameters: Parameters) -> dict[str, torch.Size]:
    """Name → shape."""
    return {name: tensor.shape for name, tensor in parameters.items()}


def interaction_loss(scores: Tensor, weights: Tensor, negative_weight: float, loss: Loss) -> Tensor:
    """One loss an interaction: [batch], from scores [batch, 1 + negatives], the positive first.

    weight · ℓ(positive, 1) + negative_weight · mean over negatives of ℓ(negative, 0), with ℓ the squared
    error or the logistic loss. A row reads one event and public constants only: clipping needs it so.
    """
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    if loss == "squared":
        errors = (scores - labels).square()
    else:
        errors = nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    return weights * errors[:, 0] + negative_weight * errors[:, 1:].mean(dim=1)
