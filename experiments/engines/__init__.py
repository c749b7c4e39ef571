"""The engines that run the same Flower apps: this process, Flower's simulation on Ray, or a federation."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from flwr.clientapp import ClientApp

from terrycloth.models.errors import UserError
from terrycloth.server.strategy import RoundObserver

# Flower reports usage to its makers by default; a simulation of a private federation should not.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

Engine = Callable[[ClientApp, Mapping[str, Any], int, RoundObserver], None]


def engine(name: str) -> Engine:
    """Return the engine with this name, in-process, ray or federation. Raises UserError for another name.

    An engine takes the client app, the run config, the number of nodes and an observer of the rounds, and
    returns when all rounds are done.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    if name == "in-process":
        from terrycloth.experiments.engines import in_process

        return in_process.run
    if name == "ray":
        from terrycloth.experiments.engines import ray

        return ray.run
    if name == "federation":
        from terrycloth.experiments.engines import federation

        return federation.run
    raise UserError(f"there is no engine {name!r}: choose in-process or ray")
