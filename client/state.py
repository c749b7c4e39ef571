"""What a device keeps between rounds: its vector, its ledger, its secret key. None of it ever leaves."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from client.ledger import Ledger
from models.randomness import KEY_BYTES, new_key

FACTS = ("answered", "question", "refused")


@dataclass
class DeviceState:
    """State of the devices behind one node.

    vectors: float32 [devices, dim], the shoppers' vectors after the last question; `before` are those the
    last question started from. took_part: bool [devices], who answered it; refused: how many would not, for
    their budget. question: digest of the last question. answered: how many different questions
    were answered; it numbers the devices' random streams, so no draw is ever used for two questions,
    whatever round number a server claims.
    """

    vectors: Tensor
    before: Tensor
    took_part: npt.NDArray[np.bool_]
    ledger: Ledger
    answered: int = 0
    question: str = ""
    refused: int = 0

    @classmethod
    def new(cls, devices: int, dim: int) -> "DeviceState":
        """Vectors at zero, which depends on no data."""
        nobody = np.zeros(devices, dtype=np.bool_)
        return cls(torch.zeros(devices, dim), torch.zeros(devices, dim), nobody, Ledger.empty(devices))

    def save(self, path: Path) -> None:
        """Replace the file in one step, on disk before this returns: a crash leaves the old or the new."""
        tensors = {
            "vectors": self.vectors.contiguous(),
            "before": self.before.clone(),  # safetensors wants no shared memory
            "took_part": torch.from_numpy(self.took_part),
            "mechanisms": torch.from_numpy(self.ledger.mechanisms).contiguous(),
            "steps": torch.from_numpy(self.ledger.steps).contiguous(),
        }
        facts = json.dumps({name: getattr(self, name) for name in FACTS})
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"facts": facts})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "DeviceState":
        """Read what `save` wrote."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            facts = json.loads(file.metadata()["facts"])
        ledger = Ledger(tensors["mechanisms"].numpy(), tensors["steps"].numpy().astype(np.int64))
        return cls(tensors["vectors"], tensors["before"], tensors["took_part"].numpy(), ledger, **facts)


def device_key(path: Path) -> bytes:
    """The secret key of the devices' random streams: made on first use, readable by its owner alone."""
    if not path.exists():
        write_key(path, new_key())
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError("the device's key file is damaged: remove it, and a new key is made")
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write a key with permissions 0600."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
