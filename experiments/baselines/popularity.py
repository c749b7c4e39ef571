"""Floors that are the same for every shopper: popularity and recent popularity.

popularity         the number of shoppers who have an item
recent popularity  the same, except that each shopper counts 2^(−a/h), where a is the age in days of the
                   shopper's last purchase of the item (Ji et al. 2020, "A re-visit of the popularity baseline
                   in recommender systems", show how much the window matters)
"""

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.profiles import ages_weigh, last_rows
from terrycloth.experiments.baselines.row import Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer

WINDOW = "window"  # h, in days; 0 means infinite

DAYS = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 21, 30, 45, 60, 90, 120, 180, 365, 730, 0)
RECENT_GRID = tuple({WINDOW: float(days)} for days in DAYS)


def fit_popularity(context: Context, settings: Settings) -> Serve:
    """Score each item by the number of shoppers who have it, without a model and without privacy."""
    counts = decayed_counts(context, 0.0)
    return lambda _: same_for_all(counts)


def fit_recent_popularity(context: Context, settings: Settings) -> Serve:
    """Score each item by the number of shoppers who have it, where recent purchases count more."""
    counts = decayed_counts(context, settings[WINDOW])
    return lambda _: same_for_all(counts)


def decayed_counts(context: Context, window: float) -> Tensor:
    """Return Σ 2^(−age / window) over each item's buyers: float32 [items]. window: days; 0 means infinite."""
    train, num_items = context.train, context.num_items
    rows = last_rows(train, num_items)
    counts = np.bincount(train.items[rows], ages_weigh(train.times[rows], context.now, window), num_items)
    return torch.from_numpy(counts).float()


def same_for_all(scores: Tensor) -> Scorer:
    """Return a scorer that gives every shopper the same scores [items]."""

    def scorer(events: Events) -> Tensor:
        return scores.expand(events.num_devices, -1)

    return scorer
