"""What a device keeps between rounds: its vector, its ledger, its last answer. None of it ever leaves."""

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from terrycloth.client.ledger import Ledger
from terrycloth.models.durable import replace
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import KINDS_OF_ROUND
from terrycloth.models.update import Refusal

FACTS = ("asked", "query", "refused", "begun", "replied", "promise", "run", "day")


class CorruptState(Exception):
    """A state file that is not what `save` wrote: what the devices have spent is not known."""


@dataclass
class DeviceState:
    """State of the devices behind one node.

    vectors: float32 [devices, dim], the shoppers' vectors after the last answer. took_part: bool [devices],
    who is in the last query's answer; refused: how many would not be, by the budget they would pass.
    query: digest of the last query; asked: how many different ones there were. begun: whether training
    for it was begun, and not stopped by its owner; replied: whether its answer is ready; update: that answer,
    from which it is given again. promise: the unit and trust that
    ledger and vectors are kept under. run: the last one that asked; rounds: of each kind, in how many of that
    run's a device was booked, int64 [devices, KINDS_OF_ROUND]. day: the latest UTC date (ISO) on which a new
    query came; day_start: the ledger's steps when it began, int64 [devices, mechanisms known then]. No key
    is kept: what drew the noise is forgotten.
    """

    vectors: Tensor
    took_part: npt.NDArray[np.bool_]
    ledger: Ledger
    day_start: npt.NDArray[np.int64]
    rounds: npt.NDArray[np.int64]
    asked: int = 0
    query: str = ""
    refused: dict[Refusal, int] = field(default_factory=dict)
    begun: bool = False
    replied: bool = False
    promise: str = ""
    run: str = ""
    day: str = ""
    update: Parameters = field(default_factory=dict)

    @classmethod
    def new(cls, devices: int, dim: int) -> "DeviceState":
        """Vectors at zero, which depends on no data."""
        ledger = Ledger.empty(devices)
        return cls(
            vectors=torch.zeros(devices, dim),
            took_part=np.zeros(devices, dtype=np.bool_),
            ledger=ledger,
            day_start=ledger.steps,
            rounds=np.zeros((devices, KINDS_OF_ROUND), dtype=np.int64),
        )

    def save(self, path: Path) -> None:
        """Replace the file in one step, on disk before this returns: a crash leaves the old or the new."""
        tensors = {
            "vectors": self.vectors.contiguous(),
            "took_part": torch.from_numpy(self.took_part),
            "mechanisms": torch.from_numpy(self.ledger.mechanisms).contiguous(),
            "steps": torch.from_numpy(self.ledger.steps).contiguous(),
            "day_start": torch.from_numpy(self.day_start.copy()),  # no two tensors of a file share memory
            "rounds": torch.from_numpy(self.rounds),
            **{f"update/{name}": tensor for name, tensor in self.update.items()},
        }
        facts = json.dumps({name: getattr(self, name) for name in FACTS})
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"facts": facts})
        replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "DeviceState":
        """Read what `save` wrote. Raises CorruptState on anything else, and where there is nothing."""
        try:
            state = cls._read(path)
            sound = state._is_sound()
        except Exception:  # bytes that are no state fail in many ways, and what they say may be private
            raise CorruptState from None
        if not sound:
            raise CorruptState
        return state

    @classmethod
    def _read(cls, path: Path) -> "DeviceState":
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            facts = json.loads(file.metadata()["facts"])
        if set(facts) != set(FACTS):
            raise CorruptState
        refused = {Refusal(reason): devices for reason, devices in facts.pop("refused").items()}
        return cls(
            vectors=tensors["vectors"],
            took_part=tensors["took_part"].numpy(),
            ledger=Ledger(tensors["mechanisms"].numpy(), tensors["steps"].numpy()),
            day_start=tensors["day_start"].numpy(),
            rounds=tensors["rounds"].numpy(),
            update={
                name.removeprefix("update/"): tensor
                for name, tensor in tensors.items()
                if name.startswith("update/")
            },
            refused=refused,
            **facts,
        )

    def _is_sound(self) -> bool:
        """Whether sizes, types and ranges are a state's. Vectors may have diverged: that is no fault."""
        devices, _ = self.vectors.shape
        _, known = self.day_start.shape
        return (
            self.vectors.dtype == torch.float32
            and self.took_part.dtype == np.bool_
            and self.took_part.shape == (devices,)
            and self.ledger.is_sound(devices)
            and self.day_start.dtype == np.int64
            and self.day_start.shape == (devices, known)
            and bool(((self.day_start >= 0) & (self.day_start <= self.ledger.steps[:, :known])).all())
            and self.rounds.dtype == np.int64
            and self.rounds.shape == (devices, KINDS_OF_ROUND)
            and bool((self.rounds >= 0).all())
            and all(isinstance(fact, bool) for fact in (self.begun, self.replied))
            and all(isinstance(fact, str) for fact in (self.query, self.promise, self.run))
            and (self.day == "" or date.fromisoformat(self.day).isoformat() == self.day)
            and all(type(count) is int and count >= 0 for count in (self.asked, *self.refused.values()))
        )
