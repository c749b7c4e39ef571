"""Choose how fast old purchases count for less, which differs most between shops."""

from collections.abc import Callable

from terrycloth.experiments.settings.config import RunConfig

# In days, visits and visits; 0: age does not matter.
HALF_LIVES = {
    "popularity_half_life": (7.0, 30.0, 120.0),
    "recency_half_life": (2.0, 5.0, 20.0),
    "kernel_half_life": (0.0, 10.0, 40.0),
}


def with_half_lives(config: RunConfig, reach: Callable[[RunConfig], float]) -> RunConfig:
    """Return the settings with the best half-lives, found one after the other; of equals the first is taken.

    reach: measures settings on the earlier period.
    """
    best, reached = config, reach(config)
    for name, values in HALF_LIVES.items():
        for value in values:
            changed = best.model_copy(update={name: value})
            figure = reach(changed)
            if figure > reached:
                best, reached = changed, figure
    return best
