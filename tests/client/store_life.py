"""A device's life in a process of its own, for tests that kill it. Imported before the process forks."""

from multiprocessing.connection import Connection
from pathlib import Path

import numpy.typing as npt
import torch

import terrycloth.client.training.opacus_trainer  # noqa: F401 (else each process imports it anew)
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.store import DeviceStore
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import Request
from tests.client.stores import bought

torch.set_num_threads(1)

Shared = dict[str, npt.NDArray]


def question(number: int, shared: Shared, settings: RoundSettings) -> Request:
    """The question of this number: each has other parameters."""
    return Request(
        {name: torch.from_numpy(array + 1e-3 * number) for name, array in shared.items()}, settings
    )


def answer(folder: Path, request: Request) -> bytes:
    """Answer a question; gives the update's bytes."""
    reply = DeviceGroup(folder, trainer="reference").answer(request)
    assert reply.answered == 1
    return b"".join(tensor.numpy().tobytes() for tensor in reply.update.values())


def live(folder: Path, shared: Shared, settings: RoundSettings, number: int, told: Connection) -> None:
    """Buy and answer in turn, from this number on, and say each before and after."""
    store = DeviceStore(folder)
    while True:
        told.send(("buys", number))
        store.add_events(bought(number % 8, time=1_700_000_000 + number), 100_000)
        told.send(("bought", number))
        told.send(("is asked", number))
        told.send(("answered", number, answer(folder, question(number, shared, settings))))
        number += 1
