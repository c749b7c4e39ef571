"""One process that serves device groups: what `terry device serve` and the processes of `up` run."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from terrycloth.client.app import make_app
from terrycloth.client.device_group import open_storage
from terrycloth.client.fleet.serve import GIVE_UP, App, devices_at, serve
from terrycloth.experiments.federation.processes import stop_with
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
KEPT_OUT = 2  # exit code: the owner can mend it


def load() -> None:
    """Load what a device needs, before a fork. Nothing may be computed yet: threads do not survive a fork."""
    torch.set_num_threads(1)


def app_of(folder: Path, trainer: str | None = None) -> App:
    """Return the ClientApp of a device group. Raises UserError if the folder holds no devices.

    trainer: by default the reference for a single device, which compiles nothing, and `fast` for more.
    """
    try:
        alone = len(open_storage(folder, 0, 1, time.time).devices) == 1
    except OSError:
        raise UserError(
            f"{folder} holds neither a store nor events: make one with terry device init"
        ) from None
    return make_app(folder, trainer=trainer or ("reference" if alone else "fast"))


@owner_only()  # for the whole process: the threads in it share one umask
def serve_folders(folders: Sequence[Path], trainer: str | None = None, give_up: float = GIVE_UP) -> int:
    """Serve device groups until SIGTERM or SIGINT, and return the exit code."""
    torch.set_num_threads(1)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    devices = devices_at(folders, lambda folder: app_of(folder, trainer))
    kept_out = serve(devices, stop, give_up)
    for name, reason in kept_out.items():
        print(f"terry: {name}: {reason}", file=sys.stderr)
    return KEPT_OUT if kept_out else 0


def serve_folder(folder: Path, parent: int) -> None:
    """Serve one device group in a forked process, with a log in its folder, while its parent lives."""
    with (folder / "device.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, force=True)
    stop_with(parent)
    sys.exit(serve_folders([folder]))
