"""Run the rounds of a published method in this process, without Flower, device folders or a promise."""

import secrets
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from terrycloth.experiments.baselines.personalised.counter import Counter
from terrycloth.experiments.baselines.personalised.examples import Integers, Shoppers
from terrycloth.experiments.baselines.personalised.fedrap import FedRAP
from terrycloth.experiments.baselines.personalised.pfedrec import PFedRec
from terrycloth.experiments.evaluation.evaluate import DeviceScorer
from terrycloth.experiments.evaluation.split import Split
from terrycloth.experiments.settings.planning import ResolvedConfig
from terrycloth.models.errors import UserError
from terrycloth.server.checkpoint import RoundRecord

MOST_BYTES = 2**32  # limit for the largest table
BYTES = 4  # per number

Method = Counter | PFedRec | FedRAP


def train_personalised(
    config: ResolvedConfig,
    split: Split,
    num_items: int,
    on_round: Callable[[RoundRecord, DeviceScorer], None],
) -> None:
    """Run all rounds, and call `on_round` after each with its record and the scorer of all devices.

    Raises UserError if the tables are too large, if a shopper has no negatives, or if the training diverges.
    """
    refuse_large_tables(config, split.train.num_devices, num_items)
    seed = secrets.randbits(63) if config.seed is None else config.seed
    method = build_method(config, Shoppers(split, num_items, config.negative_sampling), seed)

    def scores(devices: Integers) -> Tensor:
        scored = method.scores(devices)
        if not torch.isfinite(scored).all():
            raise UserError(f"--model {config.model} diverged: lower learning_rate, {config.learning_rate:g}")
        return scored

    devices, sent = split.train.num_devices, BYTES * method.shared_numbers
    for round in range(1, config.rounds + 1):
        started = time.monotonic()
        method.train_round(round, np.random.default_rng([seed, round]))
        record = RoundRecord(
            round=round, asked=devices, answered=devices, refused={}, invalid={}, epsilon=None,
            bytes_down=sent, bytes_up=sent, seconds=time.monotonic() - started,
        )  # fmt: skip
        on_round(record, scores)


def build_method(config: ResolvedConfig, shoppers: Shoppers, seed: int) -> Method:
    """Return the method that `config.model` names, ready for its first round."""
    if config.model == "counter":
        return Counter(shoppers, config.negatives)
    return (PFedRec if config.model == "pfedrec" else FedRAP)(
        shoppers,
        dim=config.dim,
        negatives=config.negatives,
        learning_rate=config.learning_rate,
        start=torch.Generator().manual_seed(seed),
    )


def refuse_large_tables(config: ResolvedConfig, devices: int, num_items: int) -> None:
    """Raise UserError if the devices' tables do not fit in memory: a number or a row per device and item."""
    numbers = devices * num_items * (config.dim if config.model == "fedrap" else 2)
    if BYTES * numbers > MOST_BYTES:
        raise UserError(
            f"--model {config.model} keeps {BYTES * numbers / 2**30:.1f} GiB for {devices:,} devices and "
            f"{num_items:,} items, and the limit is {MOST_BYTES // 2**30} GiB: lower --devices or --dim"
        )
