"""The seam between a device group and the ways to train its devices: one query in, one sum out."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.models.privacy.randomness import Purpose, Stream
from terrycloth.models.privacy.trust import NoiseSource
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.linear_autoencoder import LinearAutoencoder
from terrycloth.models.recommenders.recommender import Parameters, Recommender
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


def trainer_for(
    model: Recommender, settings: RoundSettings, together: bool = False, torch_device: str = "cpu"
) -> Trainer:
    """The trainer that keeps the promise asked for: bounded releases, and the device's noise on them.

    together: all devices in one computation where there is one; else by the reference, one after the other.
    torch_device: where `VmapTrainer` computes.
    """
    from terrycloth.client.training.noise import LocalNoise, SharedNoise

    trainer = bounded_trainer(model, settings, together, torch_device)
    source = settings.trust_model.source
    if source is NoiseSource.SHARES:
        return SharedNoise(trainer, settings)
    # At interaction level DP-SGD has noised every step.
    if source is NoiseSource.DEVICE and (settings.unit == "shopper" or settings.evaluates):
        return LocalNoise(trainer, settings)
    return trainer


def bounded_trainer(
    model: Recommender, settings: RoundSettings, together: bool = False, torch_device: str = "cpu"
) -> Trainer:
    """The trainer whose sum changes by the settings' sensitivity at most when one unit comes or goes.

    Without a promise, a factorisation is trained by least squares, exactly, the linear model by its sums, and
    neural CF by plain SGD; at shopper level they are trained alike and the whole update is clipped.
    """
    if settings.evaluates:
        from terrycloth.client.evaluation import HitCounter
        from terrycloth.client.serving import Serving

        half_life = settings.recency_half_life or None
        return HitCounter(
            model,
            Serving(settings.catalogue_weight, settings.negative_weight, settings.regularisation, half_life),
        )
    if together and not isinstance(model, Factorisation | LinearAutoencoder):
        from terrycloth.client.training.vmap_trainer import VmapTrainer

        return VmapTrainer(model, settings, torch_device)
    if settings.unit == "interaction":
        if together and isinstance(model, Factorisation):
            from terrycloth.client.training.compiled_trainer import CompiledTrainer

            return CompiledTrainer(model, settings)
        from terrycloth.client.training.opacus_trainer import OpacusTrainer

        return OpacusTrainer(model, settings)
    if settings.unit == "shopper":
        from terrycloth.client.training.shopper_level import clipped_trainer

        return clipped_trainer(model, settings)
    if isinstance(model, LinearAutoencoder):
        from terrycloth.client.training.linear_trainer import LinearTrainer

        return LinearTrainer(model, settings)
    if isinstance(model, Factorisation):
        from terrycloth.client.training.least_squares import LeastSquaresTrainer

        return LeastSquaresTrainer(model, settings)
    from terrycloth.client.training.sgd_trainer import SgdTrainer

    return SgdTrainer(model, settings)
