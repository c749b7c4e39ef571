"""What a device keeps between rounds: its vector, its ledger, its last answer. None of it ever leaves."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from client.ledger import Ledger
from models.recommender import Parameters

FACTS = ("asked", "question", "refused", "replied", "promise")


@dataclass
class DeviceState:
    """State of the devices behind one node.

    vectors: float32 [devices, dim], the shoppers' vectors after the last answer. took_part: bool [devices],
    who is in the last question's answer; refused: how many would not be, for their budget. question: digest
    of the last question; asked: how many different ones there were. replied: whether its answer is ready;
    update: that answer, from which it is given again. promise: the unit and trust that ledger and vectors are
    kept under. No key is kept: what drew the noise is forgotten.
    """

    vectors: Tensor
    took_part: npt.NDArray[np.bool_]
    ledger: Ledger
    asked: int = 0
    question: str = ""
    refused: int = 0
    replied: bool = False
    promise: str = ""
    update: Parameters = field(default_factory=dict)

    @classmethod
    def new(cls, devices: int, dim: int) -> "DeviceState":
        """Vectors at zero, which depends on no data."""
        return cls(torch.zeros(devices, dim), np.zeros(devices, dtype=np.bool_), Ledger.empty(devices))

    def save(self, path: Path) -> None:
        """Replace the file in one step, on disk before this returns: a crash leaves the old or the new."""
        tensors = {
            "vectors": self.vectors.contiguous(),
            "took_part": torch.from_numpy(self.took_part),
            "mechanisms": torch.from_numpy(self.ledger.mechanisms).contiguous(),
            "steps": torch.from_numpy(self.ledger.steps).contiguous(),
            **{f"update/{name}": tensor for name, tensor in self.update.items()},
        }
        facts = json.dumps({name: getattr(self, name) for name in FACTS})
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"facts": facts})
        partial.chmod(0o600)
        synchronise(partial)
        partial.replace(path)
        synchronise(path.parent)  # or a power cut could bring the old name back, and with it an old ledger

    @classmethod
    def load(cls, path: Path) -> "DeviceState":
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            facts = json.loads(file.metadata()["facts"])
        return cls(
            vectors=tensors["vectors"],
            took_part=tensors["took_part"].numpy(),
            ledger=Ledger(tensors["mechanisms"].numpy(), tensors["steps"].numpy().astype(np.int64)),
            update={
                name.removeprefix("update/"): tensor
                for name, tensor in tensors.items()
                if name.startswith("update/")
            },
            **facts,
        )


def synchronise(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a second process from the same state: two would book, and draw, as if each were alone."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
