"""What a node keeps between the stages of one session: how far it is, its secrets, what it was shown.

Each stage may be a process of its own, so all of it goes to disk. Save it before an answer leaves: a stage
answered twice, from an old state, could give two answers that together bare what each hides.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from terrycloth.models.secure_aggregation.messages import Advert, ProtocolError, Task


class Stage(IntEnum):
    """The last stage that a session has answered; CLOSED after the last, or after a message it refused."""

    ADVERTISED = 1
    SHARED = 2
    MASKED = 3
    CONFIRMED = 4
    CLOSED = 5


@dataclass
class Session:
    """One node's side of one session.

    share_private, mask_private: X25519 private keys, 32 bytes. seed: of the node's own mask, 32 bytes.
    adverts: all of them, as shown. shared: U2; masked: U3. held: by owner, a share of its mask key and one of
    its seed, 64 bytes.
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
        """Go on to `stage`, once and in order. A message that is refused closes the session.

        Raises ProtocolError if `stage` is not the next one; the session then stays as it is.
        """
        if stage != self.stage + 1 or self.stage == Stage.CLOSED:
            raise ProtocolError(f"{stage.name.lower()} asked for after {self.stage.name.lower()}")
        self.stage = stage
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget every secret. Nothing is answered from here on."""
        self.stage = Stage.CLOSED
        self.share_private = self.mask_private = self.seed = b""
        self.held = {}

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it; secrets included, so the file is for its owner's eyes only."""
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
        """What `to_dict` gave."""
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
    """Bytes as hexadecimal."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in record.items()}


def _from_json(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in record.items()}
