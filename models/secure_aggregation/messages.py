"""The messages of a round, and the one encoding of what is signed or hashed.

A message holds bytes, int, str or lists of one of these, so that it turns into a flat dict and back. Lists
about nodes are in the order of the nodes' names. Arrays travel beside the messages.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Self, get_args, get_origin, get_type_hints

Value = bytes | int | str | list[bytes] | list[int] | list[str]
Part = bytes | int | str | list[str]

PROTOCOL = "terrycloth secure aggregation 1"
WIDTHS = (32, 64)
MOST_DEVICES = 2**40  # behind one node


class ProtocolError(ValueError):
    """A message that must not be answered. The text is a reason fit for a log."""


class RoundFailed(Exception):
    """A round that gives no sum. The text is a reason fit for a log."""


@dataclass(frozen=True)
class Task:
    """What a session adds up. A node fills it in from the query that it got, and signs it.

    session: fresh random bytes, at least 16, from the server. query: digest of the request that the vector
    answers. width: bits of a coordinate, 32 or 64. length: coordinates of the vector.
    """

    session: bytes
    round: int
    query: bytes
    width: int
    length: int

    def __post_init__(self) -> None:
        if len(self.session) < 16:
            raise ProtocolError("session name too short")
        if self.width not in WIDTHS or not 0 < self.length < 2**32 or not 0 <= self.round < 2**63:
            raise ProtocolError("task out of range")

    def parts(self) -> tuple[Part, ...]:
        """Return the fields in the order in which they are signed."""
        return self.session, self.round, self.query, self.width, self.length


@dataclass(frozen=True)
class Message:
    """A flat record. `from_dict(to_dict())` gives the message back."""

    def to_dict(self) -> dict[str, Value]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> Self:
        """Build a message. Raises ProtocolError unless the names and types are exactly the message's."""
        kinds = get_type_hints(cls)
        if set(record) != set(kinds) or not all(_is(record[name], kind) for name, kind in kinds.items()):
            raise ProtocolError(f"malformed {cls.__name__}")
        return cls(**record)


@dataclass(frozen=True)
class Advert(Message):
    """Stage 1, up: a node's identity, keys and commitment.

    identity: public key in OpenSSH form. share_key, mask_key: fresh X25519 keys of 32 bytes. commitment:
    digest of the seed of the node's own mask. devices: how many devices the node's vector stands for, at most
    what the roster allows.
    """

    identity: bytes
    devices: int
    share_key: bytes
    mask_key: bytes
    commitment: bytes
    signature: bytes

    @property
    def name(self) -> str:
        """The participant's name: the fingerprint of its identity."""
        return fingerprint(self.identity)

    def statement(self, task: Task) -> bytes:
        """Return what the signature covers."""
        return statement(
            "advert",
            *task.parts(),
            self.identity,
            self.devices,
            self.share_key,
            self.mask_key,
            self.commitment,
        )


@dataclass(frozen=True)
class AdvertList(Message):
    """Stage 2, down: all adverts, field by field."""

    identities: list[bytes]
    devices: list[int]
    share_keys: list[bytes]
    mask_keys: list[bytes]
    commitments: list[bytes]
    signatures: list[bytes]

    @classmethod
    def of(cls, adverts: Iterable[Advert]) -> "AdvertList":
        """Return the list of these adverts, ordered by name."""
        rows = [tuple(a.to_dict().values()) for a in sorted(adverts, key=lambda advert: advert.name)]
        columns = zip(*rows, strict=True) if rows else [()] * len(fields(cls))
        return cls(*map(list, columns))

    def adverts(self) -> list[Advert]:
        """Return the adverts. Raises ProtocolError if the lists differ in length."""
        columns = self.to_dict().values()
        try:
            return [Advert(*row) for row in zip(*columns, strict=True)]
        except ValueError:
            raise ProtocolError("advert lists of different lengths") from None


@dataclass(frozen=True)
class Shares(Message):
    """Stage 2, up: one ciphertext for each neighbour of the sender."""

    ciphertexts: list[bytes]


@dataclass(frozen=True)
class RelayedShares(Message):
    """Stage 3, down: U2, and one ciphertext from each neighbour of the recipient in U2."""

    shared: list[str]
    ciphertexts: list[bytes]


@dataclass(frozen=True)
class Masked(Message):
    """Stage 3, up, beside the masked vector: a signature of the U2 under which it was masked."""

    signature: bytes


@dataclass(frozen=True)
class MaskedList(Message):
    """Stage 4, down: U3, and its members' signatures of U2."""

    masked: list[str]
    signatures: list[bytes]


@dataclass(frozen=True)
class Confirmation(Message):
    """Stage 4, up: a signature of U2 and U3."""

    signature: bytes


@dataclass(frozen=True)
class Confirmations(Message):
    """Stage 5, down: the signers of U2 and U3, and their signatures."""

    confirmed: list[str]
    signatures: list[bytes]


@dataclass(frozen=True)
class Unmasking(Message):
    """Stage 5, up: for each node of U2 that the sender holds shares of, a share of one of its secrets."""

    shares: list[bytes]


def statement(purpose: str, *parts: Part) -> bytes:
    """Encode purpose and parts as bytes. Different inputs never give the same bytes."""
    return _encode([PROTOCOL, purpose, *parts])


def masked_statement(view: bytes, shared: list[str]) -> bytes:
    """Return what a node signs with a masked vector."""
    return statement("masked", view, shared)


def confirmed_statement(view: bytes, shared: list[str], masked: list[str]) -> bytes:
    """Return what a node signs to confirm the lists."""
    return statement("confirmed", view, shared, masked)


def fingerprint(identity: bytes) -> str:
    """Return the SHA-256 of a public key in OpenSSH form, in hexadecimal."""
    return hashlib.sha256(identity).hexdigest()


def _encode(part: Part | list[Part]) -> bytes:
    # Type's letter, length and content: different parts never give the same bytes.
    if isinstance(part, list):
        return b"l" + len(part).to_bytes(8) + b"".join(map(_encode, part))
    if isinstance(part, bytes):
        kind, content = b"b", part
    elif isinstance(part, str):
        kind, content = b"s", part.encode()
    else:
        kind, content = b"i", part.to_bytes(8)
    return kind + len(content).to_bytes(8) + content


def _is(value: object, kind: type) -> bool:
    if get_origin(kind) is list:
        (inner,) = get_args(kind)
        return isinstance(value, list) and all(type(item) is inner for item in value)
    return type(value) is kind
