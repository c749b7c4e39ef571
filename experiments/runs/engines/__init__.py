"""The places a federation runs in: this process, or Flower's simulation on Ray. The apps are the same."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from flwr.clientapp import ClientApp

from terrycloth.models.errors import UserError
from terrycloth.server.strategy import RoundObserver

# Flower reports usage to its makers unless told not to; a simulation of a private federation does not.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

Engine = Callable[[ClientApp, Mapping[str, Any], int, RoundObserver], None]


def engine(name: str) -> Engine:
    """run(client app, run config, nodes, observer): returns when all rounds are done."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    if name == "in-process":
        from terrycloth.experiments.runs.engines import in_process

        return in_process.run
    if name == "ray":
        from terrycloth.experiments.runs.engines import ray

        return ray.run
    raise UserError(f"there is no engine {name!r}: choose in-process or ray")
