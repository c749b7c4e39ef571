"""What devices keep between rounds: vectors, ledgers and the last reply.

The state file never leaves the node.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from terrycloth.client.ledger import Ledger
from terrycloth.models.durable import replace
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.settings import KINDS_OF_ROUND
from terrycloth.models.update import Refusal

FACTS = ("asked", "query", "refused", "begun", "replied", "promise", "run", "day")


class CorruptState(Exception):
    """The state file is not what `save` wrote, so it is unknown what the devices have spent."""


@dataclass
class DeviceState:
    """State of the devices behind one node.

    vectors: float32 [devices, dim], the shoppers' vectors after the last reply.
    took_part: bool [devices], the devices that are in the reply to the last query.
    refused: how many sampled devices refused the last query, by the limit that they would exceed.
    query: digest of the last query.
    asked: how many different queries there were.
    begun: whether training for the last query has begun and was not stopped by the owner.
    replied: whether the reply to the last query is ready.
    update: the update of that reply, from which the reply is repeated.
    promise: the unit and trust that apply to the ledger and the vectors.
    run: the run that sent the last query.
    rounds: int64 [devices, KINDS_OF_ROUND], how many of that run's rounds of each kind were charged to each
    device.
    day: the latest UTC date (ISO) on which a new query came.
    day_start: int64 [devices, mechanisms known then], the ledger's steps when that day began.

    The state holds no key: the key that drew the noise is forgotten.
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
        """The state of devices that were never queried. Their vectors are zero, which depends on no data."""
        ledger = Ledger.empty(devices)
        return cls(
            vectors=torch.zeros(devices, dim),
            took_part=np.zeros(devices, dtype=np.bool_),
            ledger=ledger,
            day_start=ledger.steps,
            rounds=np.zeros((devices, KINDS_OF_ROUND), dtype=np.int64),
        )

    def save(self, path: Path) -> None:
        """Replace the file atomically, on disk before returning: a crash leaves the old or the new state."""
        partial = path.with_suffix(".partial")
        save_file(self._tensors(), partial, metadata={"facts": self._facts()})
        replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> "DeviceState":
        """Read what `save` wrote. Raises CorruptState if the file is missing or damaged."""

        def read() -> tuple[str, Parameters]:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
                return file.metadata()["facts"], tensors

        return cls._sound(read)

    def to_parts(self) -> tuple[str, bytes]:
        """Return the state as JSON text and as the bytes of its tensors, for a store."""
        return self._facts(), save(self._tensors())

    @classmethod
    def from_parts(cls, facts: str, tensors: bytes) -> "DeviceState":
        """Read what `to_parts` returned. Raises CorruptState if it is anything else."""
        return cls._sound(lambda: (facts, load(tensors)))

    def _facts(self) -> str:
        return json.dumps({name: getattr(self, name) for name in FACTS})

    def _tensors(self) -> Parameters:
        return {
            "vectors": self.vectors.contiguous(),
            "took_part": torch.from_numpy(self.took_part),
            "mechanisms": torch.from_numpy(self.ledger.mechanisms).contiguous(),
            "steps": torch.from_numpy(self.ledger.steps).contiguous(),
            # A copy, because safetensors rejects tensors that share memory.
            "day_start": torch.from_numpy(self.day_start.copy()),
            "rounds": torch.from_numpy(self.rounds),
            **{f"update/{name}": tensor for name, tensor in self.update.items()},
        }

    @classmethod
    def _sound(cls, read: Callable[[], tuple[str, Parameters]]) -> "DeviceState":
        try:
            state = cls._from(*read())
            sound = state._is_sound()
        except Exception:  # damaged files fail in many ways, and the text may be private
            raise CorruptState from None
        if not sound:
            raise CorruptState
        return state

    @classmethod
    def _from(cls, text: str, tensors: Parameters) -> "DeviceState":
        facts = json.loads(text)
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
        """Whether sizes, types and ranges are valid. Vectors that have diverged are valid."""
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
