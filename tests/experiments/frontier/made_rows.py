"""Rows of a frontier's table that no run made, with only the figures that a test names."""

import math
from typing import Any

from terrycloth.experiments.frontier.table import COLUMNS, Row, standing

LEVELS = {
    "popularity": 0.05, "recent_popularity": 0.06, "nothing_released": 0.1, "private_popularity": 0.03,
    "private_recent_popularity": 0.04, "ease": 0.16, "co_occurrence": 0.11,
}  # fmt: skip
BASE: Row = dict.fromkeys(COLUMNS) | {
    "data": "towels", "split": "next-visit", "repeats": "exclude", "devices": 30, "items": 300, "events": 200,
    "tested": 28, "targets": 40, "model": "linear", "variant": "", "negative_sampling": "clean",
    "unit": "shopper", "trust": "central", "delta": 1e-5, "seed": 0, "caught": 0.079, "ndcg@10": 0.02,
    "bytes_up_per_device": 1000, "rounds": 2, "seconds": 0.1, "status": "done",
    "split_sentence": "By next visit: all visits but the last train, and the last tests.",
    "promise": "The server can hardly tell.", "command": "terry simulate --seed 0", "run": "absent",
    "private_popularity_promise": "The server can hardly tell.",
    "private_recent_popularity_promise": "The server can hardly tell.",
}  # fmt: skip


def made(own: float, epsilon: float = 1.0, error: float = 0.001, **levels: float) -> Row:
    """Return a row with this HR@10 and these figures of baselines, without a promise if ε = ∞."""
    row: dict[str, Any] = BASE | {
        "hr@10": own, "hr@10_error": error, "epsilon": epsilon, "epsilon_spent": epsilon,
    }  # fmt: skip
    if math.isinf(epsilon):
        row |= {"unit": "none", "trust": None, "epsilon_spent": None, "delta": None, "caught": None}
    for name, level in (LEVELS | levels).items():
        row |= {f"{name}_hr@10": level, f"{name}_hr@10_error": error}
    return row | standing(row, private=not math.isinf(epsilon))
