"""A synthetic corner shop, a metric (is the first item right?) and a baseline (the cheapest items)."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.experiments.baselines.row import BaselineRow, Context, Serve, Settings
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.evaluation.evaluate import Scorer
from terrycloth.experiments.evaluation.metric_table import Metric
from terrycloth.models.catalogue import Catalogue

DAY = 86_400
SHOPPERS, ITEMS, VISITS = 80, 40, 6


def load(options: DataOptions) -> Dataset:
    """Draw the shop: every shopper prefers one colour, and buys one item on each of six days."""
    draws = np.random.default_rng(options.data_seed)
    colours = np.array(["white", "blue", "green", "red"])
    table = pd.DataFrame(
        {
            "item": [f"towel-{number}" for number in range(ITEMS)],
            "title": [f"{colours[number % 4]} towel {number}" for number in range(ITEMS)],
            "colour": [(colours[number % 4],) for number in range(ITEMS)],
        }
    )
    likes = draws.integers(4, size=SHOPPERS).repeat(VISITS)
    follows = draws.random(SHOPPERS * VISITS) < 0.8
    items = draws.integers(ITEMS, size=SHOPPERS * VISITS)
    items = np.where(follows, items - items % 4 + likes, items)
    days = np.tile(np.arange(VISITS), SHOPPERS) * DAY + 1_700_000_000 // DAY * DAY
    events = Events.from_columns(
        devices=np.arange(SHOPPERS).repeat(VISITS),
        items=items,
        times=days,
        weights=np.ones(len(items)),
        num_devices=SHOPPERS,
    )
    report = ImportReport("a synthetic corner shop", rows_read=len(items), rows_kept=len(items))
    return Dataset("corner-shop", Catalogue(table), events, report)


HIT_AT_1 = Metric(
    "hit@1",
    "the share of a shopper's targets that are ranked first, each ranked alone",
    lambda ranks: ranks.by_shopper(ranks.alone <= 1),
)


def fit_cheapest(context: Context, settings: Settings) -> Serve:
    """Recommend the first items of the catalogue to everyone, as if they were the cheapest."""
    scores = -torch.arange(context.num_items, dtype=torch.float32)

    def serve(settings: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            return scores.expand(events.num_devices, -1)

        return scorer

    return serve


CHEAPEST = BaselineRow("cheapest", "It recommends the cheapest items to everyone.", fit_cheapest, floor=True)

Nesterov = partial(torch.optim.SGD, momentum=0.9, nesterov=True)
