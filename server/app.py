"""The Flower edge of the aggregator.

`app` is what `pyproject.toml` names, for `flwr run` and SuperLinks. All settings come from the run config.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from safetensors.torch import save_file

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.durable import locked, owner_only
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.build import recommender_for
from terrycloth.server.checkpoint import run_of_checkpoint
from terrycloth.server.settings import ServerSettings, from_run_config
from terrycloth.server.strategy import FederatedSum, RoundObserver

MODEL_FILE = "model.safetensors"
LOCK = "server.lock"


def make_app(on_round: RoundObserver | None = None, run_config: Mapping[str, Any] | None = None) -> ServerApp:
    """A ServerApp that reports each round to `on_round`, with the settings given or the context's."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        server, settings = from_run_config(context.run_config if run_config is None else run_config)
        model = recommender_for(settings, Catalogue.load(server.catalogue))
        model.initialise(server.initial_seed)
        with owner_only(), nullcontext() if server.folder is None else alone_in(server.folder):
            settings = settings.model_copy(update={"run": run_name(server)})
            strategy = FederatedSum(model.shared_parameters(), settings, server, on_round)
            final = strategy.run(grid)
            if server.folder is not None:
                save_file(final, server.folder / MODEL_FILE)

    return app


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a second server out of a run's folder: each would noise the same sums. Raises UserError."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / LOCK, wait=False))
        except BlockingIOError:
            raise UserError(f"another server is at work in {folder}: wait for it, or stop it") from None
        yield


def run_name(server: ServerSettings) -> str:
    """A name that no other run has; of a run that goes on, the one in its checkpoint.

    Under central trust the server's noise is new each time, so a query that another run asked before must
    not count as the same: devices would repeat their answer without booking it. Nor one that was asked before
    a checkpoint was lost, for its sum may have been released.
    """
    if server.noise_seed is not None:
        return f"seed-{server.noise_seed}"
    known = run_of_checkpoint(server.folder) if server.resume and server.folder is not None else None
    return known or secrets.token_hex(16)


app = make_app()
