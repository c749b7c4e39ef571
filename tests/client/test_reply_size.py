"""The bound on a reply's norm accepts the noise of honest devices and refuses updates that are too large."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.noise import LocalNoise
from terrycloth.client.training.trainers import trainer_for
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.limits import MOST_EVENTS
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import InvalidReply, Reply, check_size, largest_norm, released_update
from tests.models.test_settings import VALID

DRAWS = 600
SHARED = {"table.weight": torch.zeros(3, 2), "bias.weight": torch.zeros(3, 1)}
MEASURED = {"evaluate": True, "evaluation_noise": 1.0}
RELEASES: dict[str, dict[str, Any]] = {
    "shopper": {"unit": "shopper"},
    "shopper, adapted clip": {"unit": "shopper", "clip_quantile": 0.5},
    "popularity": {"unit": "shopper", "model": "linear", "rounds": 2, "head_size": 2, "round": 1},
    "gram": {"unit": "shopper", "model": "linear", "rounds": 2, "head_size": 2, "round": 2},
    "shopper, measured": {"unit": "shopper", **MEASURED, "round": 6},
    "interaction, measured": {**MEASURED, "round": 6},
}
LINEAR = {"popularity": torch.zeros(3), "gram": torch.zeros(3)}


class Largest:
    """A trainer whose devices all send the same update, which is the largest that they may send."""

    def __init__(self, settings: RoundSettings) -> None:
        self.settings = settings

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        zeros = released_update(self.settings, parameters)
        coordinates = sum(tensor.numel() for tensor in zeros.values())
        each = len(cohort.devices) * self.settings.sensitivity / coordinates**0.5
        return {name: torch.full_like(tensor, each) for name, tensor in zeros.items()}, cohort.vectors


def cohort(devices: int, draw: int, dim: int = 2) -> Cohort:
    nothing = Events.from_columns(*(np.empty(0, dtype=np.int64) for _ in range(4)), num_devices=devices)
    return Cohort(np.arange(devices), nothing, torch.zeros(devices, dim), draw.to_bytes(32), query=1)


@pytest.mark.parametrize("devices", [1, 7])
@pytest.mark.parametrize("release", RELEASES)
def test_noise_of_honest_devices_is_accepted_and_a_larger_update_is_refused(
    release: str, devices: int
) -> None:
    settings = RoundSettings.model_validate({**VALID, "round": 1, **RELEASES[release]})
    parameters = LINEAR if settings.model == "linear" else SHARED
    trainer = LocalNoise(Largest(settings), settings)
    norms = []
    for draw in range(DRAWS):
        update, _ = trainer.train(cohort(devices, draw), parameters)
        check_size(Reply(settings.round, update, devices), settings, devices)
        norms.append(sum(float(tensor.double().square().sum()) for tensor in update.values()) ** 0.5)
    coordinates = sum(tensor.numel() for tensor in update.values())
    lie = 1.001 * largest_norm(settings, devices, coordinates, MOST_EVENTS) / max(norms)
    assert lie < 2.5, "the bound must be near the norms of honest devices"
    grown = {name: tensor * (max(norms) / norms[-1]) * lie for name, tensor in update.items()}
    with pytest.raises(InvalidReply, match="norm above the bound"):
        check_size(Reply(settings.round, grown, devices), settings, devices)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("devices", [1, 5])
def test_noise_of_dp_sgd_is_accepted(devices: int, together: bool, shop: Catalogue) -> None:
    """The devices hold nothing, and the bound leaves no room for anything but noise."""
    settings = RoundSettings.model_validate({**VALID, "round": 1, "dim": 2})
    model = recommender_for(settings, shop)
    parameters = {name: torch.zeros_like(tensor) for name, tensor in model.shared_parameters().items()}
    trainer = trainer_for(model, settings, together)
    largest = 0.0
    for draw in range(60 if together else 15):
        update, _ = trainer.train(cohort(devices, draw), parameters)
        check_size(Reply(1, update, devices), settings, devices, most_events=0)
        norm = sum(float(tensor.double().square().sum()) for tensor in update.values()) ** 0.5
        coordinates = sum(tensor.numel() for tensor in update.values())
        largest = max(largest, norm / largest_norm(settings, devices, coordinates, 0))
    assert 0.5 < largest < 1.0


# The gradient is nonzero for the purchased item only, and it is clipped.
ALIGNED = {
    "clip": 1e-3,
    "noise_multiplier": 0.01,
    "sampling_rate": 1.0,
    "steps_per_round": 1,
    "negatives": 1,
    "negative_weight": 1e-6,
}


def test_the_update_of_a_device_that_stores_as_much_as_it_may_is_accepted(shop: Catalogue) -> None:
    """12,000 equal purchases have gradients that all point one way, each as long as the clip."""
    many = 12_000
    alike = np.zeros(many, dtype=np.int64)
    events = Events.from_columns(alike, alike, np.arange(many), np.ones(many), num_devices=1)
    settings = RoundSettings.model_validate({**VALID, "round": 1, "dim": 2, **ALIGNED})
    model = recommender_for(settings, shop)
    parameters = {name: torch.full_like(each, 0.1) for name, each in model.shared_parameters().items()}
    one = replace(cohort(1, draw=0), events=events)
    update, _ = trainer_for(model, settings, together=True).train(one, parameters)
    check_size(Reply(1, update, 1), settings, 1, many)
    with pytest.raises(InvalidReply, match="norm above the bound"):
        check_size(Reply(1, update, 1), settings, 1, 9 * many // 10)
