"""Popularity and recent popularity under a run's own promise: one release that spends all of ε.

A private model has to reach at least the accuracy of these floors. A device's row holds 2^(−a/h) for each
item that it has, where a is the age in days of the last purchase of the item, counted from a public `now`.
h = ∞ gives plain popularity. The change that one unit makes to the sum of the rows is bounded as follows:

shopper      The row is divided by max(|row|, C), so its norm is at most 1, wherever the noise is added. C = 0
             scales every row to norm 1, as the first release of the linear model does.
interaction  Adding or removing one interaction changes only one entry of its device's row. The entry lies
             between 0 and 1, so it changes by at most 1. The row is not scaled, because scaling would change
             all of its entries.

C and h are public. If they are chosen on validation, ε does not cover that choice, as with all tuned
settings.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.cohort import Cohort, Trainer
from terrycloth.client.training.noise import LocalNoise, SharedNoise
from terrycloth.client.training.profiles import clipped_rows, recency_rows
from terrycloth.experiments.baselines.popularity import WINDOW, same_for_all
from terrycloth.experiments.baselines.row import Context, Settings
from terrycloth.experiments.baselines.tuning import hit_rate
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.experiments.evaluation.split import Split
from terrycloth.experiments.settings.planning import ResolvedConfig, make_promise
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.accounting import noise_for
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.privacy.randomness import new_key, seeded_key
from terrycloth.models.privacy.trust import NoiseSource
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import ROUNDING, RoundSettings
from terrycloth.server.aggregate import sum_updates
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import FederatedSum

COUNTS = "popularity"
NORM = "norm"  # C
ANOTHER_SEED = 2**63  # added to the run's seed, which is smaller, so that the run's own noise is not reused

PLAIN: Settings = {WINDOW: 0.0, NORM: 0.0}
DAYS = (1.0, 2.0, 3.0, 5.0, 7.0, 14.0, 30.0, 60.0, 120.0, 365.0, 730.0, 0.0)
# NORM = 1 is the norm of a single purchase made just now: old purchases alone then count for less.
RECENT_GRID = tuple({WINDOW: days, NORM: norm} for days in DAYS for norm in (0.0, 1.0))


@dataclass(frozen=True)
class PrivateRow:
    """A private baseline. grid: the settings among which validation chooses, at most TRIALS."""

    sentence: str
    grid: tuple[Settings, ...] = (PLAIN,)
    needs_times: bool = False


PRIVATE_BASELINES = {
    "private_popularity": PrivateRow(
        "Recommends to everyone the items that most shoppers have, by one release under the same promise."
    ),
    "private_recent_popularity": PrivateRow(
        "Recommends the items that most shoppers bought recently, by one release under the same promise.",
        grid=RECENT_GRID,
        needs_times=True,
    ),
}


def private_baselines(
    config: ResolvedConfig, promise: Promise, split: Split, validation: Split, catalogue: Catalogue
) -> Iterator[tuple[str, Scorer, Promise]]:
    """Yield the name, scorer and promise of each private baseline. promise: the run's, with finite ε.

    The settings of each baseline are chosen on `validation`, under noise as strong as the baseline's own. ε
    does not cover this choice. A baseline is left out if the data have no times that it needs, or no shoppers
    to validate on.
    """
    release_config = one_release(config, promise)
    context = Context.of(split, catalogue)
    context = replace(context, train=context.train.newest(config.most_events))  # what devices store
    for name, row in PRIVATE_BASELINES.items():
        if row.needs_times and not split.rule.timed:
            continue
        settings = chosen_under_noise(row.grid, release_config, validation, catalogue)
        if settings is not None:
            yield name, *private_popularity(config, promise, context, settings)


def chosen_under_noise(
    grid: tuple[Settings, ...], config: ResolvedConfig, validation: Split, catalogue: Catalogue
) -> Settings | None:
    """Return the settings with the greatest HR@10 on validation, or None if no shopper can be tested.

    All settings are compared under the same noise draw. config: the settings of the one release.
    """
    if len(grid) == 1:
        return grid[0]
    sample = config.evaluate_sample
    if not len(validation.test.tested(sample)):
        return None
    context = Context.of(validation, catalogue)
    deviation = config.noise_multiplier * config.settings.noises_in_sum**0.5
    noise = deviation * torch.randn(context.num_items, generator=torch.Generator().manual_seed(0))
    hit_rates = []
    for public in grid:
        counting = Counting(config.settings, context.num_items, context.now, public)
        scorer = same_for_all(counting.total(context.train) + noise)
        hit_rates.append(hit_rate(scorer, validation.test, context.num_items, context.repeats, sample))
    return grid[int(np.argmax(hit_rates))]


def private_popularity(
    config: ResolvedConfig, promise: Promise, context: Context, settings: Settings = PLAIN
) -> tuple[Scorer, Promise]:
    """Return a scorer that ranks items by one noised release of their popularity, and its promise.

    promise: the run's, with finite ε. The new promise keeps its unit, trust and δ, and spends all of its ε on
    this release. If the run has a seed, the release is repeatable, with noise different from the run's.
    """
    release_config = one_release(config, promise)
    noised = release(release_config.settings, context, settings, config.seed)
    own_promise = make_promise(release_config, catalogue_from_events=promise.catalogue_from_events)
    return same_for_all(noised), own_promise


def one_release(config: ResolvedConfig, promise: Promise) -> ResolvedConfig:
    """Return a run's settings for one release with norm 1 per unit, in which every device takes part."""
    assert promise.epsilon is not None
    assert promise.delta is not None
    once = {
        "model": "mf",  # its rounds are all the same kind of release; no model is trained
        "rounds": 1,
        "steps_per_round": 1,
        "sampling_rate": 1.0,
        "participation": 1.0,
        "clip": 1.0,
        "clip_quantile": 0.0,
        "evaluate": "simulator",
    }
    noise = noise_for(promise.epsilon, promise.delta, 1.0, 1, only_renyi=promise.trust_model.only_renyi)
    return config.model_copy(update={**once, "noise_multiplier": noise})


def release(settings: RoundSettings, context: Context, public: Settings, seed: int | None) -> Tensor:
    """Return the noised sum over the devices as the server sees it: float32 [items].

    public: the settings WINDOW and NORM.
    """
    train, num_items = context.train, context.num_items
    zeros = {COUNTS: torch.zeros(num_items)}
    key = new_key() if seed is None else seeded_key(seed + ANOTHER_SEED)
    none = torch.zeros(train.num_devices, 0)
    cohort = Cohort(np.arange(train.num_devices), train, none, key, query=1)
    counting = Counting(settings, num_items, context.now, public)
    update, _ = noising(counting, settings).train(cohort, zeros)
    server = ServerSettings.model_validate(
        {"catalogue": "", "noise_seed": None if seed is None else seed + ANOTHER_SEED}
    )
    logging.getLogger("flwr").setLevel(logging.ERROR)
    return FederatedSum(zeros, settings, server).released(settings, sum_updates([update]))[COUNTS].float()


def noising(counting: "Counting", settings: RoundSettings) -> Trainer:
    """Return the trainer that counts and adds the noise that devices add under the run's trust model."""
    source = settings.trust_model.source
    if source is NoiseSource.DEVICE:
        return LocalNoise(counting, settings)
    return SharedNoise(counting, settings) if source is NoiseSource.SHARES else counting


class Counting:
    """A `Trainer` whose update is the sum of the devices' rows, which one unit changes by at most 1."""

    def __init__(self, settings: RoundSettings, num_items: int, now: int, public: Settings) -> None:
        self.settings = settings
        self.num_items = num_items
        self.now = now
        self.public = public

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """Return the update {COUNTS: float32 [items]} and the cohort's vectors, unchanged."""
        return {COUNTS: self.total(cohort.events)}, cohort.vectors

    def total(self, events: Events) -> Tensor:
        """Return the sum of the devices' rows: float32 [items]."""
        rows = recency_rows(events, self.num_items, self.now, self.public[WINDOW])
        if self.settings.unit == "shopper":
            rows = clipped_rows(rows, self.public[NORM]) * ROUNDING
        return torch.from_numpy(np.asarray(rows.sum(axis=0, dtype=np.float64)).reshape(-1)).float()
