"""What settings, devices and the server need to know of a model before it is built."""

from dataclasses import dataclass
from enum import Enum

from terrycloth.models.plug_in_loading import entry_point_names

ENTRY_POINTS = "terrycloth.models"  # the group in which packages name their models


class Solver(Enum):
    """How a device finds its own vector and its update, which decides which trainers apply to a model."""

    GRADIENT = "gradient"  # SGD on sampled negatives
    LEAST_SQUARES = "least squares"  # the vector in closed form, the gradient over the whole catalogue
    STATISTICS = "statistics"  # no vector: the server solves for the model from sums over devices


@dataclass(frozen=True)
class ModelKind:
    """The public facts of one model.

    units: the units of privacy that it can be trained under. releases: the shared parameters that training
    releases one after another, one per round; empty where every round releases all of them.
    """

    solver: Solver = Solver.GRADIENT
    units: tuple[str, ...] = ("none", "interaction", "shopper")
    releases: tuple[str, ...] = ()

    @property
    def keeps_vector(self) -> bool:
        """Whether a device keeps a vector of its shopper between rounds."""
        return self.solver is not Solver.STATISTICS

    @property
    def draws_negatives(self) -> bool:
        """Whether devices always train on negatives that they draw."""
        return self.solver is Solver.GRADIENT

    def round_of_release(self, round: int) -> int:
        """The index of a training round among rounds that differ in what they release: 0 where none do."""
        return round - 1 if self.releases else 0


KINDS: dict[str, ModelKind] = {
    "mf": ModelKind(Solver.LEAST_SQUARES),
    "attributes": ModelKind(Solver.LEAST_SQUARES),
    "neural-cf": ModelKind(),
    "linear": ModelKind(Solver.STATISTICS, units=("none", "shopper"), releases=("popularity", "gram")),
}

PLUG_IN = ModelKind()


def offered() -> list[str]:
    """The short names under which installed packages offer models; nothing of theirs is imported."""
    return [name for name in entry_point_names(ENTRY_POINTS) if name not in KINDS]


def kind_of(model: str) -> ModelKind:
    """The kind of a model by its short name. A plug-in is trained by gradients."""
    return KINDS.get(model, PLUG_IN)
