"""A contender in as many processes as there are cores: each with its share, all told to go at once."""

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
    """That this process may use."""
    return len(os.sched_getaffinity(0))


class Workers:
    """prepare(share) is entered in a process for each share, and gives what does one round of it.

    What a round returns comes back here, as a server would have it. Each process has one thread for torch.
    environment: of process k, set before prepare is called.
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
        """Start the processes; returns when each is ready."""
        context = multiprocessing.get_context("spawn")
        for place, share in enumerate(self.shares):
            here, there = context.Pipe()
            # pfl-research talks to its like only in processes that have this name.
            process = context.Process(
                target=serve, args=(self.prepare, share, there, self.environment(place)), name="MainProcess"
            )
            process.start()
            there.close()
            self.processes.append((process, here))
        self.hear()

    def round(self) -> None:
        """Tell all of them to go, and wait for the last."""
        for _, connection in self.processes:
            connection.send(GO)
        self.hear()

    def hear(self) -> None:
        """One answer of each. Raises RuntimeError where a process has ended."""
        for process, connection in self.processes:
            try:
                connection.recv()
            except EOFError:
                process.join()
                raise RuntimeError(f"a process of {self.name} ended with {process.exitcode}") from None

    def stop(self) -> None:
        """Ask each to end; end one that does not."""
        for _, connection in self.processes:
            connection.close()  # which a process that waits for the next word reads as the end
        for process, _ in self.processes:
            process.join(SECONDS_TO_STOP)
            if process.is_alive():
                process.terminate()
                process.join()
        self.processes.clear()


def serve(prepare: Prepare, share: Any, connection: Connection, environment: dict[str, str]) -> None:
    """In the process: say that it is ready, then do a round at each word, until there is none."""
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
