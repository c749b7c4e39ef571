"""The devices that answer one query together, and the interface of everything that trains them."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.models.privacy.randomness import Purpose, Stream
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import RoundSettings


@dataclass(frozen=True)
class Cohort:
    """The devices that take part: ids int64 [n] (which name their random streams), events, vectors [n, dim].

    query numbers the streams, and key is their secret. targets: the purchases that each device keeps back
    from training; only an evaluation reads them.
    """

    devices: npt.NDArray[np.int64]
    events: Events
    vectors: Tensor
    key: bytes = field(repr=False)
    query: int
    targets: Targets = field(default_factory=lambda: Targets.none(0))

    def take(self, places: npt.NDArray[np.int64]) -> "Cohort":
        """The devices at these places of the cohort."""
        return replace(
            self,
            devices=self.devices[places],
            events=self.events.take(places),
            vectors=self.vectors[places],
            targets=self.targets.take(places),
        )

    def holding_if(self, kept: npt.NDArray[np.bool_]) -> "Cohort":
        """All devices, of which those where kept [n] is false hold nothing."""
        events, targets = self.events, self.targets
        return replace(
            self, events=events.keep(kept[events.devices]), targets=targets.keep(kept[targets.devices])
        )

    def stream(self, device: int, step: int, purpose: Purpose) -> Stream:
        """One device's draws for one purpose in one step of this query."""
        return Stream(self.key, device=device, round=self.query, step=step, purpose=purpose)


def precision_of(settings: RoundSettings) -> torch.dtype:
    """Of a sum of updates: double where its noise comes later, for one device more changes all roundings."""
    return torch.float64 if settings.unit == "shopper" else torch.float32


class Trainer(Protocol):
    """Trains every device of a cohort from the same shared parameters."""

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """The sum of the devices' updates (names and shapes of `parameters`) and their new vectors.

        What is noised after this, the sum of whole devices' updates, is in double precision.
        """
        ...
