"""The floors of a run: baselines without a model that a useful run has to beat.

A run without a promise is compared with every floor of `experiments.baselines`. A run under a promise is
compared only with floors that keep an equally strong promise: what a device finds by itself, and what is
released under the same promise.
"""

from collections.abc import Mapping

from terrycloth.experiments.baselines import BASELINES, NOTHING_RELEASED

ALONE = (NOTHING_RELEASED,)  # found by each device by itself, so it keeps every promise
PRIVATE = ("private_popularity", "private_recent_popularity")  # released under the run's own promise
FLOORS = tuple(name for name, row in BASELINES.items() if row.floor)
STRONG = tuple(name for name, row in BASELINES.items() if not row.floor)


def is_floor(name: str) -> bool:
    """Whether a baseline of that name is a floor, with or without a promise."""
    return name in FLOORS or name in PRIVATE


def floors_of(private: bool) -> tuple[str, ...]:
    """The names of the floors of a run. private: whether the run has a promise."""
    return (*(name for name in FLOORS if name in ALONE), *PRIVATE) if private else FLOORS


def best_floor(levels: Mapping[str, float | None], private: bool) -> tuple[str, float] | None:
    """The name and the level of the best floor; None if no floor was measured."""
    known = {name: level for name in floors_of(private) if (level := levels.get(name)) is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return None if best is None else (best, known[best])
