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
from terrycloth.experiments.evaluation.split import Split, validation_split
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
ANOTHER_SEED = 2**63  # added to a run's own, all of which are below: its noise is not drawn twice

PLAIN: Settings = {WINDOW: 0.0, NORM: 0.0}
DAYS = (1.0, 2.0, 3.0, 5.0, 7.0, 14.0, 30.0, 60.0, 120.0, 365.0, 730.0, 0.0)
# Where rows are clipped at the norm of one thing bought just now, who was here long ago counts for less.
RECENT_GRID = tuple({WINDOW: days, NORM: norm} for days in DAYS for norm in (0.0, 1.0))


@dataclass(frozen=True)
class PrivateRow:
    """A private baseline. grid: the settings that validation chooses between, TRIALS at most."""

    sentence: str
    grid: tuple[Settings, ...] = (PLAIN,)
    needs_times: bool = False


PRIVATE_BASELINES = {
    "private_popularity": PrivateRow(
        "Everyone gets what most shoppers have, as one release under the same promise tells it."
    ),
    "private_recent_popularity": PrivateRow(
        "Everyone gets what most shoppers bought lately, as one release under the same promise tells it.",
        grid=RECENT_GRID,
        needs_times=True,
    ),
}


def private_baselines(
    config: ResolvedConfig, promise: Promise, split: Split, catalogue: Catalogue
) -> Iterator[tuple[str, Scorer, Promise]]:
    """Each by its name, with its scores and what it promises. promise: the run's, of finite ε.

    Their settings are chosen on validation, under noise as strong as theirs, which ε does not cover. One that
    cannot be chosen, for want of times or of shoppers to choose by, is left out.
    """
    asked = one_release(config, promise)
    context = Context.of(split, catalogue)
    context = replace(context, train=context.train.newest(config.most_events))  # what devices store
    for name, row in PRIVATE_BASELINES.items():
        if row.needs_times and not split.rule.timed:
            continue
        settings = chosen_under_noise(row.grid, asked, split, catalogue)
        if settings is not None:
            yield name, *private_popularity(config, promise, context, settings)


def chosen_under_noise(
    grid: tuple[Settings, ...], asked: ResolvedConfig, split: Split, catalogue: Catalogue
) -> Settings | None:
    """The settings with the greatest HR@10 on validation, under one draw of noise that all of them share."""
    if len(grid) == 1:
        return grid[0]
    validation, sample = validation_split(split, len(catalogue)), asked.evaluate_sample
    if not len(validation.test.tested(sample)):
        return None
    context = Context.of(validation, catalogue)
    deviation = asked.noise_multiplier * asked.settings.noises_in_sum**0.5
    noise = deviation * torch.randn(context.num_items, generator=torch.Generator().manual_seed(0))
    reached = []
    for public in grid:
        counting = Counting(asked.settings, context.num_items, context.now, public)
        scorer = same_for_all(counting.total(context.train) + noise)
        reached.append(hit_rate(scorer, validation.test, context.num_items, context.repeats, sample))
    return grid[int(np.argmax(reached))]


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
    noise = noise_for(promise.epsilon, promise.delta, 1.0, 1, only_renyi=promise.trust_model.only_renyi)
    return config.model_copy(update={**once, "noise_multiplier": noise})


def release(settings: RoundSettings, context: Context, public: Settings, seed: int | None) -> Tensor:
    """The noised sum over the devices, as a server has it: float32 [items]. public: WINDOW and NORM."""
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
    """What devices do: count, and add the noise that the trust asks of them."""
    source = settings.trust_model.source
    if source is NoiseSource.DEVICE:
        return LocalNoise(counting, settings)
    return SharedNoise(counting, settings) if source is NoiseSource.SHARES else counting


class Counting:
    """A `Trainer` that trains nothing: its update is the sum of rows, which one unit changes by 1 at most."""

    def __init__(self, settings: RoundSettings, num_items: int, now: int, public: Settings) -> None:
        self.settings = settings
        self.num_items = num_items
        self.now = now
        self.public = public

    def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, Tensor]:
        """COUNTS [items]."""
        return {COUNTS: self.total(cohort.events)}, cohort.vectors

    def total(self, events: Events) -> Tensor:
        """The sum of the devices' rows: float32 [items]."""
        rows = recency_rows(events, self.num_items, self.now, self.public[WINDOW])
        if self.settings.unit == "shopper":
            rows = clipped_rows(rows, self.public[NORM]) * ROUNDING
        return torch.from_numpy(np.asarray(rows.sum(axis=0, dtype=np.float64)).reshape(-1)).float()
