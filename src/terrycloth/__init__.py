"""An on-device federated recommender that says exactly what its privacy promise costs.

    from terrycloth import simulate
    run = simulate(devices=2000, unit="interaction", epsilon=8.0, seed=1)
    run.accuracy

The packages beside this file are links to the folders at the top of the project.
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("terrycloth needs the modules fcntl and resource, which Windows lacks: use it in WSL")

if TYPE_CHECKING:
    from terrycloth.experiments.api import (
        Frontier,
        Run,
        check_model,
        frontier,
        load_frontier,
        load_run,
        simulate,
    )
    from terrycloth.models.errors import UserError

__all__ = ["Frontier", "Run", "UserError", "check_model", "frontier", "load_frontier", "load_run", "simulate"]


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used, so that `terry --help` loads nothing heavy."""
    if name == "UserError":
        from terrycloth.models.errors import UserError

        return UserError
    if name in __all__:
        from terrycloth.experiments import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
