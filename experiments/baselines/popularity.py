"""Floors that know no shopper: what most have, and what many bought lately.

popularity         of each item, the shoppers who have it
recent popularity  the same, each counting 2^(−a/h), a the age in days of the shopper's last purchase of the
                   item (Ji et al. 2020, "A re-visit of the popularity baseline in recommender systems", show
                   how much the window matters)
"""

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.client.training.profiles import ages_weigh, last_rows
from terrycloth.experiments.baselines.row import Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer

WINDOW = "window"  # h, in days; 0: infinite

DAYS = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 21, 30, 45, 60, 90, 120, 180, 365, 730, 0)
RECENT_GRID = tuple({WINDOW: float(days)} for days in DAYS)


def fit_popularity(context: Context, settings: Settings) -> Serve:
    """Every shopper gets the items that most shoppers have: no model, and no privacy either."""
    counts = decayed_counts(context, 0.0)
    return lambda _: same_for_all(counts)


def fit_recent_popularity(context: Context, settings: Settings) -> Serve:
    """Every shopper gets what most bought lately."""
    counts = decayed_counts(context, settings[WINDOW])
    return lambda _: same_for_all(counts)


def decayed_counts(context: Context, window: float) -> Tensor:
    """Σ 2^(−age / window) of each item over its buyers: float32 [items]."""
    train, num_items = context.train, context.num_items
    rows = last_rows(train, num_items)
    counts = np.bincount(train.items[rows], ages_weigh(train.times[rows], context.now, window), num_items)
    return torch.from_numpy(counts).float()


def same_for_all(scores: Tensor) -> Scorer:
    """Scores [items] that do not look at a shopper."""

    def scorer(events: Events) -> Tensor:
        return scores.expand(events.num_devices, -1)

    return scorer
