"""Popularity under a run's own promise: one release on which all of ε is spent, the least to reach.

At shopper level it is the first release of the linear model, Σ x/|x|, with the clip and the noise of that
model, whoever adds it. At interaction level a device releases its own 0/1 row with noise of its own on every
item: one interaction more or less changes that row by 1 at most.
"""

import logging

import numpy as np
import torch
from torch import Tensor

from client.co_occurrence import popularity_sum, purchases
from client.events import Events
from client.noise import LocalNoise, SharedNoise
from client.trainer import Cohort, Trainer
from experiments.evaluate import Scorer
from experiments.planning import ResolvedConfig, make_promise
from models.accounting import noise_for
from models.promise import Promise
from models.randomness import new_key, seeded_key
from models.recommender import Parameters
from models.settings import ROUNDING, RoundSettings
from server.aggregate import sum_updates
from server.settings import ServerSettings
from server.strategy import FederatedSum

POPULARITY = "popularity"
ANOTHER_SEED = 2**63  # added to a run's own, all of which are below: its noise is not drawn twice


def private_popularity(
    config: ResolvedConfig, promise: Promise, train: Events, num_items: int
) -> tuple[Scorer, Promise]:
    """Every shopper gets the most popular items as one noised release tells them, and what that promises.

    promise: the run's, of finite ε. Its unit, trust and δ are kept, and its ε is all for this release. A
    run's seed makes it repeatable, with noise of its own.
    """
    asked = one_release(config, promise)
    noised = release(asked.settings, train, num_items, config.seed)
    kept = make_promise(asked, catalogue_from_events=promise.catalogue_from_events)
    return lambda events: noised.expand(events.num_devices, -1), kept


def one_release(config: ResolvedConfig, promise: Promise) -> ResolvedConfig:
    """A run's settings, but for one release of norm 1 a unit, in which every device takes part."""
    assert promise.epsilon is not None
    assert promise.delta is not None
    once = {
        "model": "mf",  # whose rounds are all alike; nothing of it is trained
        "rounds": 1,
        "steps_per_round": 1,
        "sampling_rate": 1.0,
        "participation": 1.0,
        "clip": 1.0,
        "clip_quantile": 0.0,
        "evaluate": "simulator",
    }
    only_renyi = config.trust == "distributed" and config.unit == "shopper"
    noise = noise_for(promise.epsilon, promise.delta, 1.0, 1, only_renyi=only_renyi)
    return config.model_copy(update={**once, "noise_multiplier": noise})


def release(settings: RoundSettings, train: Events, num_items: int, seed: int | None) -> Tensor:
    """The noised sum over the devices, as a server has it: [items]."""
    zeros = {POPULARITY: torch.zeros(num_items)}
    key = new_key() if seed is None else seeded_key(seed + ANOTHER_SEED)
    none = torch.zeros(train.num_devices, 0)
    cohort = Cohort(np.arange(train.num_devices), train, none, key, question=1)
    update, _ = noising(settings, num_items).train(cohort, zeros)
    server = ServerSettings.model_validate(
        {"catalogue": "", "noise_seed": None if seed is None else seed + ANOTHER_SEED}
    )
    logging.getLogger("flwr").setLevel(logging.ERROR)
    return FederatedSum(zeros, settings, server).released(settings, sum_updates([update]))[POPULARITY].float()


def noising(settings: RoundSettings, num_items: int) -> Trainer:
    """What devices do: count, and add the noise that the trust asks of them."""
    counting = Counting(settings, num_items)
    if settings.trust == "local":
        return LocalNoise(counting, settings)
    return SharedNoise(counting, settings) if settings.trust == "distributed" else counting


class Counting:
    """A `Trainer` that trains nothing: its update is the sum of the devices' rows."""

    def __init__(self, settings: RoundSettings, num_items: int) -> None:
        self.settings = settings
        self.num_items = num_items

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """POPULARITY [items], of which one unit is 1 at most in norm."""
        if self.settings.unit == "shopper":
            return {POPULARITY: ROUNDING * popularity_sum(cohort.events, self.num_items)}, cohort.vectors
        rows = purchases(cohort.events, self.num_items)
        counts = np.bincount(rows.indices, minlength=self.num_items)
        return {POPULARITY: torch.from_numpy(counts).float()}, cohort.vectors
