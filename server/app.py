"""The aggregator's ServerApp for Flower.

`pyproject.toml` names `app` for `flwr run` and SuperLinks. All settings come from the run config.
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
    """Return a ServerApp that reports each round to `on_round`.

    It takes its settings from `run_config`, or by default from the run config in Flower's context.
    """
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
    """Keep a second server out of a run folder, because each would add its own noise to the same sums.

    Raises UserError if another server already works in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / LOCK, wait=False))
        except BlockingIOError:
            raise UserError(f"another server is using {folder}: wait for it to end, or stop it") from None
        yield


def run_name(server: ServerSettings) -> str:
    """Return a name that no other run has, or the name in the checkpoint if the run resumes.

    Under central trust the server draws new noise each time. A query that another run already sent must
    therefore not count as the same query: devices would repeat their reply without charging for it. The same
    holds for a query sent before a checkpoint was lost, because its sum may have been released.
    """
    if server.noise_seed is not None:
        return f"seed-{server.noise_seed}"
    checkpoint_run = run_of_checkpoint(server.folder) if server.resume and server.folder is not None else None
    return checkpoint_run or secrets.token_hex(16)


app = make_app()
