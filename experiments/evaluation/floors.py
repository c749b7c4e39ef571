"""What a run has to be above to be worth anything: its floors, which no model is needed for.

A run without a promise is held against every floor of `experiments.baselines`. A run under a promise is held
against those that keep one as strong: what a device finds by itself, and what is released under the same
promise.
"""

from collections.abc import Mapping

from terrycloth.experiments.baselines import BASELINES, NOTHING_RELEASED

ALONE = (NOTHING_RELEASED,)  # found by each device by itself, so that it keeps every promise
PRIVATE = ("private_popularity", "private_recent_popularity")  # released under the run's own promise
FLOORS = tuple(name for name, row in BASELINES.items() if row.floor)
STRONG = tuple(name for name, row in BASELINES.items() if not row.floor)


def is_floor(name: str) -> bool:
    """Whether a baseline of that name is a floor, with or without a promise."""
    return name in FLOORS or name in PRIVATE


def floors_of(private: bool) -> tuple[str, ...]:
    """The names of the floors of a run. private: under a promise."""
    return (*(name for name in FLOORS if name in ALONE), *PRIVATE) if private else FLOORS


def best_floor(levels: Mapping[str, float | None], private: bool) -> tuple[str, float] | None:
    """The floor that reaches most, by its name, and what it reaches; None where none was measured."""
    known = {name: level for name in floors_of(private) if (level := levels.get(name)) is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return None if best is None else (best, known[best])
