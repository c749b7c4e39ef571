"""What is searched, by model and unit: the settings that move accuracy and cost nothing in ε.

The noise is found for ε whatever they are, so that every trial keeps the same promise. A setting that
the user says is not searched. Each range holds the default, which is the first trial.
"""

from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig

Space = dict[str, BaseDistribution]

ALIKE = 1000.0  # events: a half-life so long that all count the same


def scale(low: float, high: float) -> FloatDistribution:
    """A positive number of which only the order of magnitude is known."""
    return FloatDistribution(low, high, log=True)


# How a device fits its own vector and serves from it; in what is released it only shapes what is clipped.
FIT: Space = {
    "regularisation": scale(0.1, 100.0),
    "catalogue_weight": scale(0.01, 3.0),  # above, every score is pulled to 0
    "recency_half_life": scale(1.0, ALIKE),
}

# Few dimensions leave less to noise, many hold more of the shop. Rounds share ε, and what a step of the
# server can do is bounded by the noise in it, so the three are searched together.
NOISED: Space = {
    "dim": IntDistribution(1, 64, log=True),
    "rounds": IntDistribution(1, 60, log=True),
    "server_learning_rate": scale(0.1, 100.0),
    "clip": scale(0.05, 20.0),  # below: all updates are cut alike; above: noise for norms nobody reaches
}

# A device's own steps.
DESCENT: Space = {"learning_rate": scale(1e-4, 1.0), "negative_weight": scale(0.25, 16.0)}

# Of methods that are only measured: a device's steps. What else is in them stays as their authors have it.
PUBLISHED: Space = {
    "dim": IntDistribution(4, 64, log=True),
    "rounds": IntDistribution(1, 100, log=True),
    "learning_rate": scale(1e-3, 1.0),
}

SPACES: dict[tuple[str, str], Space] = {
    # Two sums: what is to choose is how ε is shared between them, and what each says of a purchase.
    ("linear", "shopper"): {
        "popularity_share": FloatDistribution(0.05, 0.7),
        "kernel_half_life": scale(1.0, ALIKE),
        "recency_half_life": scale(1.0, ALIKE),
        "regularisation": scale(0.3, 100.0),
        "head_scale": scale(2.0, 100.0),
    },
    ("linear", "none"): {
        "dim": IntDistribution(16, 4096, log=True),  # eigenvectors kept; they are shrunk anyhow
        "popularity_discount": FloatDistribution(0.0, 0.6),
        "kernel_half_life": scale(1.0, ALIKE),
        "recency_half_life": scale(1.0, ALIKE),
        "regularisation": scale(0.3, 100.0),
    },
    ("factorisation", "shopper"): NOISED | {"server_momentum": FloatDistribution(0.0, 0.9)} | FIT,
    # A device's own step moves its vector too, through noise that grows with the rounds.
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


def space_of(said: RunConfig, default: ResolvedConfig, *, times_known: bool) -> Space:
    """What is left to search where `said` leaves settings open and `default` is what they would be."""
    family = "factorisation" if said.model in ("mf", "attributes") else said.model
    found = {"rounds"} if said.epsilon and said.noise_multiplier else set()
    if said.head_size is not None:
        found.add("head_scale")
    space = {
        name: distribution
        for name, distribution in SPACES[family, said.unit].items()
        if getattr(said, name) is None
        and name not in found
        and (times_known or not name.endswith("half_life"))
    }
    start = to_parameters(start_of(space, default))
    return {name: widened(distribution, start[name]) for name, distribution in space.items()}


def start_of(space: Space, default: ResolvedConfig) -> dict[str, Any]:
    """The first trial: the defaults."""
    return {name: getattr(default, name) for name in space}


def to_parameters(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are searched. A half-life of 0, by which all events are alike, is ALIKE events."""
    return {
        name: ALIKE if name.endswith("half_life") and value == 0.0 else value
        for name, value in settings.items()
    }


def to_settings(parameters: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `to_parameters`."""
    return {
        name: 0.0 if name.endswith("half_life") and value >= ALIKE else value
        for name, value in parameters.items()
    }


def widened(distribution: BaseDistribution, default: float) -> BaseDistribution:
    """The range, with the default in it."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = min(distribution.low, default), max(distribution.high, default)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(low), int(high), log=distribution.log)
    return FloatDistribution(low, high, log=distribution.log)
