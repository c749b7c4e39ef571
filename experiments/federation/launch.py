"""What `terry federation up` starts: the server, or a process for each device group.

    python -m terrycloth.experiments.federation.launch server|devices FOLDER [PARENT]

The devices' processes are forked from one that has loaded torch, so that its time and its memory are spent
once. They share nothing else: each has its own folder, key, connection and log, and one that is killed is
started again. PARENT is the number of a process; whatever was started ends soon after it.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from terrycloth.experiments.federation.layout import Layout
from terrycloth.experiments.federation.processes import DEVICES, SERVER, holding, stop_with
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError

SECONDS_TO_STOP = 10.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"

logger = logging.getLogger(__name__)


def serve_devices(layout: Layout) -> None:
    """Keep a process for each device group alive until a signal comes."""
    from terrycloth.experiments.federation.device_process import load, serve_folder

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    load()
    forked = multiprocessing.get_context("fork")

    def begin(folder: Path) -> BaseProcess:
        process = forked.Process(target=serve_folder, args=(folder, os.getpid()), name=folder.name)
        process.start()
        return process

    running = {folder: begin(folder) for folder in layout.devices}
    while not stop.wait(0.5):
        for folder, process in running.items():
            if process.exitcode is not None and process.exitcode < 0:  # by a signal that was not ours
                logger.warning("%s was killed, and is started again", folder.name)
                running[folder] = begin(folder)
        if all(process.exitcode is not None for process in running.values()):
            return
    for process in running.values():
        process.terminate()
    until = time.monotonic() + SECONDS_TO_STOP
    for process in running.values():
        process.join(max(0.1, until - time.monotonic()))
        if process.exitcode is None:
            process.kill()


def main(kind: str, folder: str, parent: str | None = None) -> None:
    """Run one of the two processes of a federation."""
    layout = Layout(Path(folder))
    ends_with_parent = parent is not None
    try:
        with owner_only(), holding(layout, kind):
            stop_with(None if parent is None else int(parent))
            if kind == SERVER:
                from terrycloth.server.link.listeners import serve

                # A server that ends with its parent need not remember who is registered, and a database costs
                # two thirds of a server's time.
                serve(replace(layout.listening, database=None) if ends_with_parent else layout.listening)
            elif kind == DEVICES:
                logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
                logging.getLogger("httpx").setLevel(logging.WARNING)
                serve_devices(layout)
    except UserError as error:
        sys.exit(f"terry: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
