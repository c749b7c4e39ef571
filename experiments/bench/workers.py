"""A contender in several processes, each with a share of the devices, which start each round together."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

Round = Callable[[], Any]
Prepare = Callable[[Any], AbstractContextManager[Round]]

READY, GO = "ready", "go"
SECONDS_TO_STOP = 30.0


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS lacks it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """A contender that runs one process per share.

    prepare: a context manager that each process enters with its share; it yields the function that runs one
    round of the share. The result of each round is sent to this process, as it would be sent to a server.
    Each process has one torch thread. environment: returns the environment variables of process k, which are
    set before prepare is called.
    """

    def __init__(
        self,
        name: str,
        devices: int,
        prepare: Prepare,
        shares: Sequence[Any],
        environment: Callable[[int], dict[str, str]] = lambda place: {},
    ) -> None:
        self.name = name
        self.devices = devices
        self.prepare = prepare
        self.shares = shares
        self.environment = environment
        self.processes: list[tuple[BaseProcess, Connection]] = []

    def start(self) -> None:
        """Start the processes and wait until all are ready. Raises RuntimeError if one ends."""
        context = multiprocessing.get_context("spawn")
        for place, share in enumerate(self.shares):
            here, there = context.Pipe()
            # pfl-research communicates only between processes with this name.
            process = context.Process(
                target=serve, args=(self.prepare, share, there, self.environment(place)), name="MainProcess"
            )
            process.start()
            there.close()
            self.processes.append((process, here))
        self.wait()

    def round(self) -> None:
        """Start a round in all processes and wait for the last. Raises RuntimeError if a process ends."""
        for _, connection in self.processes:
            connection.send(GO)
        self.wait()

    def wait(self) -> None:
        """Receive one message from each process. Raises RuntimeError if a process has ended."""
        for process, connection in self.processes:
            try:
                connection.recv()
            except EOFError:
                process.join()
                raise RuntimeError(f"a process of {self.name} exited with code {process.exitcode}") from None

    def stop(self) -> None:
        """Ask every process to end, and terminate those that do not."""
        for _, connection in self.processes:
            connection.close()  # a process that waits for the next message then ends
        for process, _ in self.processes:
            process.join(SECONDS_TO_STOP)
            if process.is_alive():
                process.terminate()
                process.join()
        self.processes.clear()


def serve(prepare: Prepare, share: Any, connection: Connection, environment: dict[str, str]) -> None:
    """Run in a worker process: report readiness, then run one round per message until the pipe closes."""
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    with prepare(share) as round:
        connection.send(READY)
        while True:
            try:
                connection.recv()
            except EOFError:
                return
            connection.send(round())
