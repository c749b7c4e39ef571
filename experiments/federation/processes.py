"""Start the two processes of a federation on this machine, wait for them, and stop them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from terrycloth.experiments.federation.layout import Layout
from terrycloth.experiments.federation.ports import LOOPBACK
from terrycloth.models.durable import locked
from terrycloth.models.errors import UserError

SERVER, DEVICES = "server", "devices"
LAUNCH = "terrycloth.experiments.federation.launch"
SECONDS_TO_START, SECONDS_TO_CONNECT, SECONDS_TO_STOP = 60.0, 120.0, 20.0

Doing = Callable[[str], None]


def environment(layout: Layout) -> dict[str, str]:
    """Return the environment of both processes: Flower reports nothing, and a device computes on one core."""
    return {
        **os.environ,
        "FLWR_HOME": str(layout.home / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "OMP_NUM_THREADS": "1",
    }


def stop_with(parent: int | None) -> None:
    """End this process as SIGTERM does, once another process has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def holding(layout: Layout, name: str) -> Iterator[None]:
    """Be the process of this name for the block: its number stands in a file that is locked meanwhile.

    Raises UserError if another process is that already, or there is no federation in the folder.
    """
    layout.check()
    try:
        with locked(layout.home / f"{name}.lock", wait=False):
            (layout.home / f"{name}.pid").write_text(str(os.getpid()))
            yield
    except BlockingIOError:
        raise UserError(
            f"the {name} of {layout.run} already run: stop them with terry federation down {layout.run}"
        ) from None


def process_of(layout: Layout, name: str) -> int | None:
    """Return the number of the running process of this name, or None.

    Raises UserError if there is no federation in the folder.
    """
    layout.check()
    try:
        with locked(layout.home / f"{name}.lock", wait=False):
            return None
    except BlockingIOError:
        with suppress(OSError, ValueError):
            return int((layout.home / f"{name}.pid").read_text())
        return None


def start(layout: Layout, name: str, *, with_parent: bool) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own. with_parent: it ends when this process does."""
    command = [sys.executable, "-m", LAUNCH, name, str(layout.run.resolve())]
    command += [str(os.getpid())] if with_parent else []
    with log_of(layout, name).open("ab") as log:
        return subprocess.Popen(
            command,
            env=environment(layout),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def log_of(layout: Layout, name: str) -> Path:
    """Return the path of a process's log."""
    return layout.home / f"{name}.log"


def last_line(layout: Layout, name: str) -> str:
    """Return the last line of a process's log, because a folder without a finished round is removed."""
    lines = log_of(layout, name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"


@contextmanager
def running(layout: Layout, doing: Doing) -> Iterator[None]:
    """Run server and devices for the block, and stop both whatever happens in it."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        bring_up(layout, doing, started, with_parent=True)
        yield
    finally:
        doing("stopping the devices and the server")
        stop(started[::-1])


def bring_up(
    layout: Layout, doing: Doing, started: "list[subprocess.Popen[bytes]]", *, with_parent: bool
) -> None:
    """Start the server, register the devices, start them, and wait until all are connected.

    started: receives each process, so that the caller can stop it. Raises UserError if one does not start.
    """
    for name in (SERVER, DEVICES):
        if process_of(layout, name) is not None:
            raise UserError(f"{layout.run} already runs: stop it with terry federation down {layout.run}")
    doing("starting the server")
    started.append(start(layout, SERVER, with_parent=with_parent))
    started.append(start(layout, DEVICES, with_parent=with_parent))  # which load torch meanwhile
    wait_until_healthy(layout, started[0])
    operator = layout.operator()
    try:
        registered = {node.name for node in operator.nodes()}
        for number in range(layout.settings.nodes):
            if (name := layout.device(number).name) not in registered:
                operator.register(layout.public_key(number), name)
        doing(f"waiting for {layout.settings.nodes:,} devices to connect")
        until = time.monotonic() + SECONDS_TO_CONNECT
        while sum(node.online for node in operator.nodes()) < layout.settings.nodes:
            if started[1].poll() is not None or time.monotonic() > until:
                raise UserError(f"not all devices connected: {last_line(layout, DEVICES)}")
            time.sleep(0.3)
    finally:
        operator.close()


def wait_until_healthy(layout: Layout, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers. Raises UserError if it ends or takes too long."""
    scheme, verify = ("http", False) if layout.settings.insecure else ("https", layout.tls())
    url = f"{scheme}://{LOOPBACK}:{layout.settings.operator_port}/health"
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and server.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(url, verify=verify or False, timeout=2).status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise UserError(f"the server did not start: {last_line(layout, SERVER)}")


def stop(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Ask processes to end, in this order, and end those that do not."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
        if process.poll() is None:
            process.kill()
            process.wait()


def down(layout: Layout) -> list[str]:
    """Stop a federation's processes, devices first, and return the names of those that ran."""
    stopped = []
    for name in (DEVICES, SERVER):
        until = time.monotonic() + SECONDS_TO_STOP
        if (process := process_of(layout, name)) is not None:
            stopped.append(name)
            os.kill(process, signal.SIGTERM)
        while (process := process_of(layout, name)) is not None:
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.1)
    return stopped
