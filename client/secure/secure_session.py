"""What a node keeps between the stages of one session: its stage, its secrets, and the lists it was shown.

Each stage may run in a separate process, so the whole session is stored on disk. Save it before an answer
leaves. If a stage were answered twice from an old state, the two answers together could reveal what each one
hides.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from terrycloth.models.secure_aggregation.messages import Advert, ProtocolError, Task


class Stage(IntEnum):
    """The last stage that a session has answered; CLOSED after the last stage or a refused message."""

    ADVERTISED = 1
    SHARED = 2
    MASKED = 3
    CONFIRMED = 4
    CLOSED = 5


@dataclass
class Session:
    """One node's side of one session.

    share_private, mask_private: X25519 private keys, 32 bytes each. seed: seed of the node's own mask, 32
    bytes. adverts: all adverts, as the server showed them. shared: the names in U2, the nodes that shared
    their secrets. masked: the names in U3, the nodes that sent masked vectors. held: per owner, a share of
    its mask key and a share of its seed, together 64 bytes.
    """

    task: Task
    advert: Advert
    share_private: bytes = field(repr=False)
    mask_private: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    stage: Stage = Stage.ADVERTISED
    adverts: list[Advert] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    held: dict[str, bytes] = field(default_factory=dict, repr=False)

    @contextmanager
    def answering(self, stage: Stage) -> Iterator[None]:
        """Advance to `stage`, once and in order. An error in the block closes the session.

        Raises ProtocolError if `stage` is not the next stage; the session then stays unchanged.
        """
        if stage != self.stage + 1 or self.stage == Stage.CLOSED:
            raise ProtocolError(f"{stage.name.lower()} requested after {self.stage.name.lower()}")
        self.stage = stage
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget every secret. The session answers nothing from here on."""
        self.stage = Stage.CLOSED
        self.share_private = self.mask_private = self.seed = b""
        self.held = {}

    def to_dict(self) -> dict[str, object]:
        """Return the session as JSON types. It includes the secrets, so only the owner may read the file."""
        return {
            "task": _to_json(vars(self.task)),
            "advert": _to_json(self.advert.to_dict()),
            "share_private": self.share_private.hex(),
            "mask_private": self.mask_private.hex(),
            "seed": self.seed.hex(),
            "stage": int(self.stage),
            "adverts": [_to_json(advert.to_dict()) for advert in self.adverts],
            "shared": self.shared,
            "masked": self.masked,
            "held": _to_json(self.held),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "Session":
        """Rebuild the session from the result of `to_dict`."""
        secrets = {name: bytes.fromhex(state[name]) for name in ("share_private", "mask_private", "seed")}
        return cls(
            task=Task(**_from_json(state["task"])),
            advert=Advert(**_from_json(state["advert"])),
            stage=Stage(state["stage"]),
            adverts=[Advert(**_from_json(advert)) for advert in state["adverts"]],
            shared=state["shared"],
            masked=state["masked"],
            held=_from_json(state["held"]),
            **secrets,
        )


def _to_json(record: Mapping[str, object]) -> dict[str, object]:
    """Encode bytes as hexadecimal text."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in record.items()}


def _from_json(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in record.items()}
