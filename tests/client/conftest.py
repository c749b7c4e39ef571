"""A shop of eight items, and fixtures that build settings, models, events and cohorts for devices."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.store import DeviceStore
from terrycloth.client.training.cohort import Cohort
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import Request
from tests.client.stores import MemoryRing, bought
from tests.policies import ANYTHING

ITEMS = 8
DIM = 3


@pytest.fixture(scope="session")
def shop() -> Catalogue:
    """Return a catalogue of bags of unequal length: one item has two colours, one has no known attribute."""
    colours = [("white",), ("white", "blue"), ("blue",), ("sand",), (), ("sand",), ("white",), ("blue",)]
    sizes = [("bath",), ("bath",), ("hand",), ("hand",), (), ("face",), ("face",), ("bath",)]
    names = [f"towel-{number}" for number in range(ITEMS)]
    return Catalogue(pd.DataFrame({"item": names, "title": names, "colour": colours, "size": sizes}))


@pytest.fixture(scope="session")
def ask() -> Callable[..., RoundSettings]:
    """Build the settings of one round: DP-SGD on a factorisation, except for what the caller changes."""

    def settings(**changes: Any) -> RoundSettings:
        values: dict[str, Any] = {
            "round": 1, "rounds": 10, "model": "mf", "dim": DIM, "own_rows": False, "item_bias": True,
            "unit": "interaction", "trust": "local", "epsilon": 50.0, "delta": 1e-5,
            "noise_multiplier": 1.0, "clip": 1.0, "devices": 10, "participation": 1.0, "sampling_rate": 1.0,
            "steps_per_round": 1, "learning_rate": 0.5, "negatives": 3, "negative_weight": 1.0,
            "catalogue_weight": 0.1, "regularisation": 0.5,
        }  # fmt: skip
        return RoundSettings.model_validate(values | changes)

    return settings


@pytest.fixture(scope="session")
def plain(ask: Callable[..., RoundSettings]) -> Callable[..., RoundSettings]:
    """Build settings without noise and without a clip."""

    def settings(**changes: Any) -> RoundSettings:
        return ask(**{"noise_multiplier": 0.0, "clip": math.inf, "epsilon": math.inf} | changes)

    return settings


@pytest.fixture(scope="session")
def build(shop: Catalogue) -> Callable[[RoundSettings], Recommender]:
    """Build the recommender that settings name, over the shop, with nonzero shared parameters."""

    def model(settings: RoundSettings, seed: int = 0) -> Recommender:
        built = recommender_for(settings, shop)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        return built

    return model


@pytest.fixture(scope="session")
def copied() -> Callable[[Recommender], Parameters]:
    """Return a copy of a model's shared parameters."""
    return lambda model: {name: tensor.clone() for name, tensor in model.shared_parameters().items()}


@pytest.fixture(scope="session")
def held() -> Callable[..., Events]:
    """Build events from one list of items a device; times count up, and weights are 1 unless given."""

    def events(*baskets: list[int], weights: list[float] | None = None) -> Events:
        items = np.array([item for basket in baskets for item in basket], dtype=np.int64)
        devices = np.repeat(np.arange(len(baskets)), [len(basket) for basket in baskets])
        times = np.arange(len(items)) + 1_700_000_000
        return Events.from_columns(
            devices, items, times, np.ones(len(items)) if weights is None else weights, len(baskets)
        )

    return events


@pytest.fixture(scope="session")
def gather() -> Callable[..., Cohort]:
    """Build a cohort of all devices of some events, with vectors that are all nonzero unless given."""

    def cohort(
        events: Events, *, devices: list[int] | None = None, query: int = 1, vectors: Tensor | None = None
    ) -> Cohort:
        numbers = np.arange(events.num_devices) if devices is None else np.array(devices)
        if vectors is None:
            vectors = torch.stack(
                [0.5 * torch.randn(DIM, generator=torch.Generator().manual_seed(int(d))) for d in numbers]
            )
        return Cohort(numbers, events, vectors, seeded_key(7), query)

    return cohort


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> MemoryRing:
    """A key ring in memory, in the place of the system's."""
    memory = MemoryRing()
    memory.patch(monkeypatch)
    return memory


@pytest.fixture
def device(tmp_path: Path, shop: Catalogue, ring: MemoryRing) -> Callable[..., DeviceStore]:
    """A fresh store of a device that consented and holds these events; its key is in the key ring."""
    made = iter(range(1_000))

    def create(basket: Sequence[int] = (1, 4, 4), *, consent: bool = True, **options: Any) -> DeviceStore:
        folder = tmp_path / f"device-{next(made)}"
        store = DeviceStore.create(folder, shop, ANYTHING, **options)
        if consent:
            store.give_consent("2026-05")
        if basket:
            store.add_events(bought(*basket), 1_000)
        return store

    return create


@pytest.fixture(scope="session")
def query(build: Callable[[RoundSettings], Recommender], copied: Any) -> Callable[..., Request]:
    """A query with these settings; `moved` moves one shared parameter by a little."""

    def request(settings: RoundSettings, moved: float = 0.0) -> Request:
        parameters = copied(build(settings))
        first = next(iter(parameters.values()))
        first.view(-1)[0] += moved
        return Request(parameters, settings)

    return request
