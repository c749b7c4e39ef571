"""A federation of processes: the same apps, with each device group in a process of its own.

`terry federation` starts the processes; this engine runs the rounds over them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.clientapp import ClientApp

import terrycloth.server.app
from terrycloth.experiments.federation.layout import Layout
from terrycloth.server.link.rounds import run as run_rounds
from terrycloth.server.strategy import RoundObserver


def run(app: ClientApp, run_config: Mapping[str, Any], nodes: int, on_round: RoundObserver) -> None:
    """Run all rounds over the devices of the federation in the run's folder.

    app: ignored, because each device answers by its own. Raises UserError if the federation does not run.
    """
    layout = Layout(Path(run_config["folder"]))
    settings = {**run_config, "timeout": layout.settings.timeout}
    operator = layout.operator()
    try:
        run_rounds(operator, terrycloth.server.app.make_app(on_round, settings), settings)
    finally:
        operator.close()
