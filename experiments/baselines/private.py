"""Popularity and recent popularity under a run's own promise: one release on which all of ε is spent.

They are the least that a private model has to reach. A device's row has 2^(−a/h) for each item that it has, a
the age in days of the last purchase of it, from a public `now`; h = ∞ is plain popularity. What one unit
changes in the sum of the rows is bounded so:

shopper      the row is divided by max(|row|, C), so its norm is 1 at most, whoever adds the noise. C = 0
             brings every row to norm 1, as the first release of the linear model does.
interaction  one interaction more or less changes one entry of its device's row, which is between 0 and 1, and
             nothing else: by 1 at most. The row is not scaled, for then it would change whole.

C and h are public. Where they are chosen on validation, ε does not cover that, as with all tuned settings.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from client.noise import LocalNoise, SharedNoise
from client.profiles import clipped_rows, recency_rows
from client.trainer import Cohort, Trainer
from experiments.baselines.popularity import WINDOW, same_for_all
from experiments.baselines.row import Context, Settings
from experiments.baselines.tuning import chosen_settings
from experiments.evaluate import Scorer
from experiments.planning import ResolvedConfig, make_promise
from experiments.split import Split
from models.accounting import noise_for
from models.catalogue import Catalogue
from models.promise import Promise
from models.randomness import new_key, seeded_key
from models.recommender import Parameters
from models.settings import ROUNDING, RoundSettings
from server.aggregate import sum_updates
from server.settings import ServerSettings
from server.strategy import FederatedSum

COUNTS = "popularity"
NORM = "norm"  # C
ANOTHER_SEED = 2**63  # added to a run's own, all of which are below: its noise is not drawn twice

PLAIN: Settings = {WINDOW: 0.0, NORM: 0.0}
RECENT_NORM = 1.0  # that of one thing bought just now, so that who was here long ago counts for less


@dataclass(frozen=True)
class PrivateRow:
    """A private baseline. like: the one without privacy whose window it takes."""

    sentence: str
    like: str
    needs_times: bool = False


PRIVATE_BASELINES = {
    "private_popularity": PrivateRow(
        "Everyone gets what most shoppers have, as one release under the same promise tells it.",
        like="popularity",
    ),
    "private_recent_popularity": PrivateRow(
        "Everyone gets what most shoppers bought lately, as one release under the same promise tells it.",
        like="recent_popularity",
        needs_times=True,
    ),
}


def private_baselines(
    config: ResolvedConfig, promise: Promise, split: Split, catalogue: Catalogue
) -> Iterator[tuple[str, Scorer, Promise]]:
    """Each by its name, with its scores and what it promises. promise: the run's, of finite ε.

    Windows are chosen on validation as those of the baselines without privacy are, which ε does not cover.
    """
    context = Context.of(split, catalogue)
    for name, row in PRIVATE_BASELINES.items():
        if row.needs_times and not split.rule.timed:
            continue
        tuned = chosen_settings(row.like, split, catalogue, sample=config.evaluate_sample)
        yield name, *private_popularity(config, promise, context, private_settings(name, tuned))


def private_settings(name: str, tuned: Settings) -> Settings:
    """What a private baseline is fitted with. tuned: the settings chosen for the one it is like."""
    return {WINDOW: tuned[WINDOW], NORM: RECENT_NORM} if PRIVATE_BASELINES[name].needs_times else PLAIN


def private_popularity(
    config: ResolvedConfig, promise: Promise, context: Context, settings: Settings = PLAIN
) -> tuple[Scorer, Promise]:
    """Every shopper gets the most popular items as one noised release tells them, and what that promises.

    promise: the run's, of finite ε. Its unit, trust and δ are kept, and its ε is all for this release. A
    run's seed makes it repeatable, with noise of its own.
    """
    asked = one_release(config, promise)
    noised = release(asked.settings, context, settings, config.seed)
    kept = make_promise(asked, catalogue_from_events=promise.catalogue_from_events)
    return same_for_all(noised), kept


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


def release(settings: RoundSettings, context: Context, public: Settings, seed: int | None) -> Tensor:
    """The noised sum over the devices, as a server has it: float32 [items]. public: WINDOW and NORM."""
    train, num_items = context.train, context.num_items
    zeros = {COUNTS: torch.zeros(num_items)}
    key = new_key() if seed is None else seeded_key(seed + ANOTHER_SEED)
    none = torch.zeros(train.num_devices, 0)
    cohort = Cohort(np.arange(train.num_devices), train, none, key, question=1)
    counting = Counting(settings, num_items, context.now, public)
    update, _ = noising(counting, settings).train(cohort, zeros)
    server = ServerSettings.model_validate(
        {"catalogue": "", "noise_seed": None if seed is None else seed + ANOTHER_SEED}
    )
    logging.getLogger("flwr").setLevel(logging.ERROR)
    return FederatedSum(zeros, settings, server).released(settings, sum_updates([update]))[COUNTS].float()


def noising(counting: "Counting", settings: RoundSettings) -> Trainer:
    """What devices do: count, and add the noise that the trust asks of them."""
    if settings.trust == "local":
        return LocalNoise(counting, settings)
    return SharedNoise(counting, settings) if settings.trust == "distributed" else counting


class Counting:
    """A `Trainer` that trains nothing: its update is the sum of rows, which one unit changes by 1 at most."""

    def __init__(self, settings: RoundSettings, num_items: int, now: int, public: Settings) -> None:
        self.settings = settings
        self.num_items = num_items
        self.now = now
        self.public = public

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """COUNTS [items]."""
        rows = recency_rows(cohort.events, self.num_items, self.now, self.public[WINDOW])
        if self.settings.unit == "shopper":
            rows = clipped_rows(rows, self.public[NORM]) * ROUNDING
        summed = np.asarray(rows.sum(axis=0, dtype=np.float64)).reshape(-1)
        return {COUNTS: torch.from_numpy(summed).float()}, cohort.vectors
