"""The workload that every contender trains on: synthetic interactions, one model, and one starting point.

Each device has the same number of interactions. Their items are drawn independently, where the item with
popularity rank r has a probability proportional to r^−0.8 (Zipf's law, as flat as MovieLens). A device may
therefore have an item twice. Weights are 1. Rows and shoppers' vectors start at random, so that no gradient
is zero. All draws depend only on the sizes.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort
from terrycloth.experiments.bench.sizes import Sizes
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.settings import RoundSettings

DELTA = 1e-5
CLIP = 1.0
LEARNING_RATE = 0.05
ZIPF_EXPONENT = 0.8
SPREAD = 0.1  # standard deviation of the initial vectors' coordinates


@dataclass(frozen=True)
class Workload:
    """One round for some devices. It is sent to other processes, so it holds only the data that they need."""

    settings: RoundSettings
    num_items: int
    cohort: Cohort
    parameters: Parameters

    @property
    def devices(self) -> int:
        """The number of devices that train."""
        return len(self.cohort.devices)

    def model(self) -> Recommender:
        """Build a new model; each process needs its own."""
        return recommender_for(self.settings, plain_catalogue(self.num_items))

    def part(self, start: int, stop: int) -> "Workload":
        """Return the same round for the devices start … stop − 1."""
        whole = self.cohort
        cohort = replace(
            whole,
            devices=whole.devices[start:stop],
            events=copied(whole.events.span(start, stop)),
            vectors=whole.vectors[start:stop].clone(),
        )
        return replace(self, cohort=cohort)

    def split(self, processes: int) -> list["Workload"]:
        """Split into one part per process, or per device if fewer; sizes differ by at most one device."""
        edges = [round(self.devices * number / processes) for number in range(processes + 1)]
        return [self.part(start, stop) for start, stop in pairwise(edges) if stop > start]


def make_workload(
    sizes: Sizes, *, devices: int, unit: str, noise_multiplier: float, model: str = "mf"
) -> Workload:
    """Build the workload for a unit: `interaction` (local trust), `shopper` (central trust) or `none`."""
    settings = round_settings(
        **promise(unit, sizes.epsilon, noise_multiplier),
        model=model,
        dim=sizes.dim,
        devices=devices,
        sampling_rate=sizes.sampling_rate,
        steps_per_round=sizes.steps,
        negatives=sizes.negatives,
    )
    recommender = recommender_for(settings, plain_catalogue(sizes.items))
    recommender.initialise(1)
    parameters = {name: tensor.clone() for name, tensor in recommender.shared_parameters().items()}
    cohort = Cohort(
        np.arange(devices),
        draw_events(devices, sizes.events, sizes.items),
        start_vectors(devices, sizes.dim),
        seeded_key(1),
        query=1,
    )
    return Workload(settings, sizes.items, cohort, parameters)


def round_settings(**given: Any) -> RoundSettings:
    """Return the settings of the first round: those given, completed by the benchmark's defaults."""
    defaults = {
        "round": 1,
        "rounds": 1,
        "dim": 1,
        "own_rows": True,
        "item_bias": True,
        "participation": 1.0,
        "sampling_rate": 1.0,
        "steps_per_round": 1,
        "learning_rate": LEARNING_RATE,
        "negatives": 1,
        "negative_weight": 4.0,
        "catalogue_weight": 0.3,
        "regularisation": 5.0,
    }
    return RoundSettings(**{**defaults, **given})


def promise(unit: str, epsilon: float, noise_multiplier: float) -> dict[str, Any]:
    """Return the fields of RoundSettings that determine the promise."""
    if unit == "none":
        unprotected = {"trust": "none", "epsilon": inf, "delta": 0.0, "noise_multiplier": 0.0, "clip": inf}
        return {"unit": unit, **unprotected}
    trust = "local" if unit == "interaction" else "central"
    return {
        "unit": unit,
        "trust": trust,
        "epsilon": epsilon,
        "delta": DELTA,
        "noise_multiplier": noise_multiplier,
        "clip": CLIP,
    }


def plain_catalogue(items: int) -> Catalogue:
    """Return a catalogue with this number of items and no attributes."""
    names = [str(item) for item in range(items)]
    return Catalogue(pd.DataFrame({ITEM: names, TITLE: names}))


def draw_events(devices: int, events: int, items: int) -> Events:
    """Draw `events` interactions for each device.

    The column of times is a view of a single zero, because the benchmark does not read it.
    """
    generator = np.random.default_rng(1)
    heights = np.cumsum(np.arange(1, items + 1) ** -ZIPF_EXPONENT)
    drawn = np.empty(devices * events, dtype=np.int32)
    block = 2**20  # events per block, which avoids a double-precision array of all events
    for start in range(0, len(drawn), block):
        part = drawn[start : start + block]
        part[:] = np.searchsorted(heights, generator.random(len(part)) * heights[-1], side="right")
    return Events(
        np.arange(devices + 1) * events,
        np.minimum(drawn, items - 1),
        np.broadcast_to(np.int64(0), len(drawn)),
        np.ones(len(drawn), dtype=np.float32),
    )


def start_vectors(devices: int, dim: int) -> Tensor:
    """Draw the shoppers' initial vectors: float32 [devices, dim]."""
    return SPREAD * torch.randn(devices, dim, generator=torch.Generator().manual_seed(2))


def copied(events: Events) -> Events:
    """Copy events to new memory, because pickling a view would send all events to another process."""
    return Events(*(np.array(part) for part in (events.offsets, events.items, events.times, events.weights)))
