"""Flower's simulation engine: the same apps, with the group's devices split over Ray processes."""

import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from flwr.clientapp import ClientApp

import terrycloth.server.app
from terrycloth.models.errors import UserError
from terrycloth.server.strategy import RoundObserver


def loopback_only() -> None:
    """Make Ray listen on 127.0.0.1 only and report no usage. Must be called before Ray is imported."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def run(app: ClientApp, run_config: Mapping[str, Any], nodes: int, on_round: RoundObserver) -> None:
    """Run all rounds on one process per core or per node, whichever is fewer.

    Raises UserError if Ray is not installed.
    """
    if find_spec("ray") is None:
        raise UserError('--engine ray needs Flower\'s simulation extra: pip install "terrycloth[ray]"')
    loopback_only()
    from flwr.simulation import run_simulation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        run_simulation(
            server_app=terrycloth.server.app.make_app(on_round, run_config),
            client_app=app,
            num_supernodes=nodes,
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {"log_to_driver": False},  # a node reports in its reply
            },
        )
