"""The seam between a farm and the ways to train its devices: one question in, one sum out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from client.events import Events
from models.factorisation import Factorisation
from models.recommender import Parameters, Recommender
from models.settings import RoundSettings


@dataclass(frozen=True)
class Cohort:
    """The devices that take part: ids int64 [n] (which name their random streams), events, vectors [n, dim].

    question numbers the streams, and key is their secret.
    """

    devices: npt.NDArray[np.int64]
    events: Events
    vectors: Tensor
    key: bytes
    question: int


class Trainer(Protocol):
    """Trains every device of a cohort from the same shared parameters."""

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """The sum of the devices' updates (names and shapes of `parameters`) and their new vectors."""
        ...


def trainer_for(model: Recommender, settings: RoundSettings) -> Trainer:
    """The trainer that keeps the promise asked for.

    Without a promise a factorisation is trained by least squares, exactly; everything else by Opacus, whose
    DP-SGD with no noise and no clip is plain SGD.
    """
    if settings.unit == "none" and isinstance(model, Factorisation):
        from client.least_squares import LeastSquaresTrainer

        return LeastSquaresTrainer(model, settings)
    from client.opacus_trainer import OpacusTrainer

    return OpacusTrainer(model, settings)
