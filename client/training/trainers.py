"""Which trainer keeps the promise of a query: by the model's solver, the unit and the trust.

Without a promise a model is trained as its solver allows: by plain SGD, by least squares, or by summing
statistics. At shopper level the same trainers clip each device's whole update. At interaction level training
is DP-SGD, by Opacus one device after another (the reference) or by a compiled loop or `vmap` for many devices
at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from terrycloth.client.evaluation import HitCounter
from terrycloth.client.serving import Serving
from terrycloth.client.training.cohort import Trainer
from terrycloth.client.training.compiled_trainer import CompiledTrainer
from terrycloth.client.training.least_squares import LeastSquaresTrainer
from terrycloth.client.training.linear_trainer import LinearTrainer
from terrycloth.client.training.noise import LocalNoise, SharedNoise
from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.client.training.sgd_trainer import SgdTrainer
from terrycloth.client.training.shopper_level import ClippedLeastSquaresTrainer, ClippedSgdTrainer
from terrycloth.client.training.vmap_trainer import VmapTrainer
from terrycloth.models.privacy.trust import NoiseSource
from terrycloth.models.recommenders.kinds import ModelKind, Solver
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import RoundSettings


def compiled(model: Any, settings: RoundSettings, torch_device: str) -> Trainer:
    """The compiled loop, which runs on the CPU alone."""
    return CompiledTrainer(model, settings)


class Trainers(NamedTuple):
    """The trainers of one solver by unit, and those of many devices at once where there are some."""

    by_unit: dict[str, Callable[[Any, RoundSettings], Trainer]]
    together: dict[str, Callable[[Any, RoundSettings, str], Trainer]]


TRAINERS: dict[Solver, Trainers] = {
    Solver.GRADIENT: Trainers(
        {"none": SgdTrainer, "shopper": ClippedSgdTrainer, "interaction": OpacusTrainer},
        {"none": VmapTrainer, "shopper": VmapTrainer, "interaction": VmapTrainer},
    ),
    Solver.LEAST_SQUARES: Trainers(
        {"none": LeastSquaresTrainer, "shopper": ClippedLeastSquaresTrainer, "interaction": OpacusTrainer},
        {"interaction": compiled},
    ),
    # The statistics of one device have norm 1 by construction, so no update needs a clip.
    Solver.STATISTICS: Trainers({"none": LinearTrainer, "shopper": LinearTrainer}, {}),
}


def uses_compiled_loops(kind: ModelKind, unit: str, together: bool) -> bool:
    """Whether training a model of this kind under a unit runs loops that numba compiles on first use."""
    return kind.solver is Solver.STATISTICS or (together and unit in TRAINERS[kind.solver].together)


def trainer_for(
    model: Recommender, settings: RoundSettings, together: bool = False, torch_device: str = "cpu"
) -> Trainer:
    """The trainer that keeps the promise of a query, with the noise that a device adds to its own update.

    together: train all devices in one computation where a trainer exists for that; otherwise the reference
    trains one device after another. torch_device: where `VmapTrainer` computes.
    """
    trainer = bounded_trainer(model, settings, together, torch_device)
    source = settings.trust_model.source
    if source is NoiseSource.SHARES:
        return SharedNoise(trainer, settings)
    # At interaction level DP-SGD has added noise to every step.
    if source is NoiseSource.DEVICE and (settings.unit == "shopper" or settings.evaluates):
        return LocalNoise(trainer, settings)
    return trainer


def bounded_trainer(
    model: Recommender, settings: RoundSettings, together: bool = False, torch_device: str = "cpu"
) -> Trainer:
    """The trainer whose sum changes by the settings' sensitivity at most when one unit comes or goes."""
    if settings.evaluates:
        half_life = settings.recency_half_life or None
        return HitCounter(
            model,
            Serving(settings.catalogue_weight, settings.negative_weight, settings.regularisation, half_life),
        )
    trainers = TRAINERS[model.solver]
    if together and settings.unit in trainers.together:
        return trainers.together[settings.unit](model, settings, torch_device)
    return trainers.by_unit[settings.unit](model, settings)
