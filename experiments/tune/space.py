"""The searched settings by model and unit: those that affect accuracy and do not change ε.

For every choice of these settings the noise is computed from ε, so every trial keeps the same promise. A
setting that the user gives is not searched. Each range contains the default, which is the first trial.
"""

from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig

Space = dict[str, BaseDistribution]

NO_DECAY = 1000.0  # a half-life, in events, so long that all events count the same


def scale(low: float, high: float) -> FloatDistribution:
    """Return a logarithmic range, for a positive number of which only the order of magnitude is known."""
    return FloatDistribution(low, high, log=True)


# How a device fits its own vector and recommends with it. These settings affect the released sums only
# through the update before clipping.
FIT: Space = {
    "regularisation": scale(0.1, 100.0),
    "catalogue_weight": scale(0.01, 3.0),  # above 3, every score is pulled towards 0
    "recency_half_life": scale(1.0, NO_DECAY),
}

# Few dimensions suffer less from noise, and many represent more of the shop. Rounds share ε, and the noise
# limits the useful size of a server step, so the three settings are searched together.
NOISED: Space = {
    "dim": IntDistribution(1, 64, log=True),
    "rounds": IntDistribution(1, 60, log=True),
    "server_learning_rate": scale(0.1, 100.0),
    "clip": scale(0.05, 20.0),  # below, all updates are clipped; above, noise for norms not reached
}

# The local gradient steps of a device.
DESCENT: Space = {"learning_rate": scale(1e-4, 1.0), "negative_weight": scale(0.25, 16.0)}

# Published methods that are only measured: dimension, rounds and step size. Everything else stays as in their
# authors' code.
PUBLISHED: Space = {
    "dim": IntDistribution(4, 64, log=True),
    "rounds": IntDistribution(1, 100, log=True),
    "learning_rate": scale(1e-3, 1.0),
}

SPACES: dict[tuple[str, str], Space] = {
    # The model has two released sums. The settings share ε between them and weigh the purchases in each.
    ("linear", "shopper"): {
        "popularity_share": FloatDistribution(0.05, 0.7),
        "kernel_half_life": scale(1.0, NO_DECAY),
        "recency_half_life": scale(1.0, NO_DECAY),
        "regularisation": scale(0.3, 100.0),
        "head_scale": scale(2.0, 100.0),
    },
    ("linear", "none"): {
        "dim": IntDistribution(16, 4096, log=True),  # eigenvectors kept; they are shrunk in any case
        "popularity_discount": FloatDistribution(0.0, 0.6),
        "kernel_half_life": scale(1.0, NO_DECAY),
        "recency_half_life": scale(1.0, NO_DECAY),
        "regularisation": scale(0.3, 100.0),
    },
    ("factorisation", "shopper"): NOISED | {"server_momentum": FloatDistribution(0.0, 0.9)} | FIT,
    # A device's local steps also move its vector, through noise that grows with the number of rounds.
    ("factorisation", "interaction"): NOISED | FIT | DESCENT,
    ("factorisation", "none"): {
        "dim": IntDistribution(4, 64, log=True),
        "rounds": IntDistribution(20, 200, log=True),
        "server_learning_rate": scale(0.005, 0.5),  # of Adam
        "server_weight_decay": scale(1e-4, 1.0),
    }
    | FIT,
    ("neural-cf", "shopper"): NOISED | DESCENT,
    ("neural-cf", "interaction"): NOISED | DESCENT,
    ("neural-cf", "none"): {
        "dim": IntDistribution(4, 64, log=True),
        "rounds": IntDistribution(5, 60, log=True),
        "steps_per_round": IntDistribution(1, 16, log=True),
        "server_learning_rate": scale(0.005, 0.5),
    }
    | DESCENT,
    ("pfedrec", "none"): PUBLISHED,
    ("fedrap", "none"): PUBLISHED,
}


def space_of(given: RunConfig, default: ResolvedConfig, *, times_known: bool) -> Space:
    """Return the search space of the settings that `given` leaves open.

    default: the resolved settings, which give the first trial. times_known: whether the data have times;
    without times no half-life is searched.
    """
    family = "factorisation" if given.model in ("mf", "attributes") else given.model
    determined = {"rounds"} if given.epsilon and given.noise_multiplier else set()
    if given.head_size is not None:
        determined.add("head_scale")
    space = {
        name: distribution
        for name, distribution in SPACES[family, given.unit].items()
        if getattr(given, name) is None
        and name not in determined
        and (times_known or not name.endswith("half_life"))
    }
    start = to_parameters(start_of(space, default))
    return {name: widened(distribution, start[name]) for name, distribution in space.items()}


def start_of(space: Space, default: ResolvedConfig) -> dict[str, Any]:
    """Return the default of each setting in the space, which is the first trial."""
    return {name: getattr(default, name) for name in space}


def to_parameters(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert settings to search parameters: a half-life of 0, which means no decay, becomes NO_DECAY."""
    return {
        name: NO_DECAY if name.endswith("half_life") and value == 0.0 else value
        for name, value in settings.items()
    }


def to_settings(parameters: dict[str, Any]) -> dict[str, Any]:
    """Convert search parameters to settings: the inverse of `to_parameters`."""
    return {
        name: 0.0 if name.endswith("half_life") and value >= NO_DECAY else value
        for name, value in parameters.items()
    }


def widened(distribution: BaseDistribution, default: float) -> BaseDistribution:
    """Return the range, widened to include the default if needed."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = min(distribution.low, default), max(distribution.high, default)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log)
    return FloatDistribution(low, high, log=distribution.log)
