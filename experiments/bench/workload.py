"""What every contender trains on: synthetic interactions, one model, one starting point.

Each device holds the same number of interactions. Their items are drawn independently, the item of popularity
rank r with probability in proportion to r^−0.8 (Zipf's law, as flat as MovieLens): so a device may hold an
item twice. Weights are 1. Rows and shoppers' vectors start at random, so that no gradient is zero. What is
drawn depends on the sizes alone.
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
SPREAD = 0.1  # of the vectors' coordinates at the start


@dataclass(frozen=True)
class Workload:
    """One round for some devices. Processes are handed it whole, so it holds what they need and no more."""

    settings: RoundSettings
    num_items: int
    cohort: Cohort
    parameters: Parameters

    @property
    def devices(self) -> int:
        """How many train."""
        return len(self.cohort.devices)

    def model(self) -> Recommender:
        """Built anew, as each process has to."""
        return recommender_for(self.settings, plain_catalogue(self.num_items))

    def part(self, start: int, stop: int) -> "Workload":
        """The same round for devices start … stop − 1."""
        whole = self.cohort
        cohort = replace(
            whole,
            devices=whole.devices[start:stop],
            events=copied(whole.events.span(start, stop)),
            vectors=whole.vectors[start:stop].clone(),
        )
        return replace(self, cohort=cohort)

    def split(self, processes: int) -> list["Workload"]:
        """Into as many parts as there are processes, alike to one device; fewer where devices are."""
        edges = [round(self.devices * number / processes) for number in range(processes + 1)]
        return [self.part(start, stop) for start, stop in pairwise(edges) if stop > start]


def make_workload(
    sizes: Sizes, *, devices: int, unit: str, noise_multiplier: float, model: str = "mf"
) -> Workload:
    """Of one unit: `interaction` (local trust), `shopper` (central trust) or `none`."""
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


def round_settings(**said: Any) -> RoundSettings:
    """The first round's: what is said, over what is usual here."""
    usual = {
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
    return RoundSettings(**{**usual, **said})


def promise(unit: str, epsilon: float, noise_multiplier: float) -> dict[str, Any]:
    """The fields of RoundSettings that say what is promised."""
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
    """So many items without attributes."""
    names = [str(item) for item in range(items)]
    return Catalogue(pd.DataFrame({ITEM: names, TITLE: names}))


def draw_events(devices: int, events: int, items: int) -> Events:
    """So many interactions on each device. Times are one zero, seen as a column: nothing here reads them."""
    generator = np.random.default_rng(1)
    heights = np.cumsum(np.arange(1, items + 1) ** -ZIPF_EXPONENT)
    drawn = np.empty(devices * events, dtype=np.int32)
    block = 2**20  # of events at a time, so that no double is held for each
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
    """float32 [devices, dim]."""
    return SPREAD * torch.randn(devices, dim, generator=torch.Generator().manual_seed(2))


def copied(events: Events) -> Events:
    """On memory of its own: a view of all events would be sent whole to another process."""
    return Events(*(np.array(part) for part in (events.offsets, events.items, events.times, events.weights)))
