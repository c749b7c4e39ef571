"""terry device: what the owner of a device runs."""

from pathlib import Path
from typing import Annotated

import typer

import terrycloth.experiments.commands.device_store as device_store

app = typer.Typer(
    no_args_is_help=True,
    help="Run a device on its owner's terms: its store, consent, receipts, erasure, and answers to a server.",
    epilog="Example: terry device show my-device",
)
app.add_typer(device_store.app)


@app.command("serve", epilog="Example: terry device serve runs/federation/devices/device-0")
def serve(
    folders: Annotated[list[Path], typer.Argument(help="folder of a device group, or of several")],
    trainer: Annotated[
        str | None,
        typer.Option(help="fast or reference; by default reference for a single device", show_default=False),
    ] = None,
    give_up: Annotated[
        float, typer.Option(help="seconds of refusal by the server after which the command ends", min=0.0)
    ] = 90.0,
) -> None:
    """Answer a server's messages with the app that is installed here, until Ctrl-C.

    The folder holds the device's events and policy, its own key, and connection.toml, which names its server.
    That server must have the public key named there, besides a certificate by its authority. A bundle that
    the server holds is never fetched. Exit code 2: the server kept a device out.
    """
    import logging
    import os

    if trainer not in (None, "fast", "reference"):
        from terrycloth.models.errors import UserError

        raise UserError(f"--trainer {trainer} is unknown: say fast or reference")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "terrycloth" / "device"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))  # compiled code of this owner's devices alone
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")

    from terrycloth.experiments.reports.phases import phase

    with phase("loading"):
        from terrycloth.experiments.federation.device_process import LOG_FORMAT, serve_folders
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    raise typer.Exit(serve_folders(folders, trainer, give_up))
