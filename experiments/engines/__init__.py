"""The places a federation runs in: this process, or Flower's simulation on Ray. The apps are the same."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.errors import UserError
from server.strategy import RoundObserver

# Flower reports usage to its makers unless told not to; a simulation of a private federation does not.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

Engine = Callable[[Path, Mapping[str, Any], int, RoundObserver, str, str], None]


def engine(name: str) -> Engine:
    """run(farm folder, run config, nodes, observer, trainer, torch device): returns when all is done."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    if name == "in-process":
        from experiments.engines import in_process

        return in_process.run
    if name == "ray":
        from experiments.engines import ray

        return ray.run
    raise UserError(f"there is no engine {name!r}: choose in-process or ray")
