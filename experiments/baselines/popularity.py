"""Floors that know no shopper: what most have, and what many bought lately.

popularity         of each item, the shoppers who have it
recent popularity  the same, each counting 2^(−a/h), a the age in days of the shopper's last purchase of the
                   item; or every purchase of it so (Ji et al. 2020, "A re-visit of the popularity baseline in
                   recommender systems", measure how much the window matters)
"""

import numpy as np
import torch
from torch import Tensor

from client.events import Events
from experiments.baselines.profiles import last_rows
from experiments.baselines.row import Context, Serve, Settings
from experiments.evaluate import Scorer
from experiments.split import DAY

WINDOW = "window"  # h, in days; 0: infinite
EVERY_PURCHASE = "every purchase"  # 1: each counts; 0: only a shopper's last of an item

DAYS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 14.0, 30.0, 60.0, 90.0, 120.0, 365.0)
RECENT_GRID = tuple({WINDOW: days, EVERY_PURCHASE: every} for every in (0.0, 1.0) for days in DAYS)


def fit_popularity(context: Context, settings: Settings) -> Serve:
    """Every shopper gets the items that most shoppers have: no model, and no privacy either."""
    counts = decayed_counts(context, 0.0)
    return lambda _: same_for_all(counts)


def fit_recent_popularity(context: Context, settings: Settings) -> Serve:
    """Every shopper gets what most bought lately."""
    counts = decayed_counts(context, settings[WINDOW], every=bool(settings[EVERY_PURCHASE]))
    return lambda _: same_for_all(counts)


def decayed_counts(context: Context, window: float, *, every: bool = False) -> Tensor:
    """Σ 2^(−age / window) of each item over its buyers, or over every purchase: float32 [items]."""
    train, num_items = context.train, context.num_items
    rows = np.arange(len(train)) if every else last_rows(train, num_items)
    counts = np.bincount(train.items[rows], ages_weigh(train.times[rows], context.now, window), num_items)
    return torch.from_numpy(counts).float()


def ages_weigh(times: np.ndarray, now: int, window: float) -> np.ndarray:
    """2^(−age / window), window in days, 0: 1; what is not older than `now` weighs 1: float64, of one shape."""
    if window == 0:
        return np.ones(len(times))
    return np.exp2(-np.maximum(now - times, 0) / (window * DAY))


def same_for_all(scores: Tensor) -> Scorer:
    """Scores [items] that do not look at a shopper."""

    def scorer(events: Events) -> Tensor:
        return scores.expand(events.num_devices, -1)

    return scorer
