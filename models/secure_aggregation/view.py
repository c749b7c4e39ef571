"""A view: the checked adverts that a node was shown, and all that follows from them.

Two nodes with the same view compute the same graph and thresholds, and the same digest of the view.
"""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

from terrycloth.models.secure_aggregation.keys import KEY_BYTES, usable
from terrycloth.models.secure_aggregation.messages import (
    MOST_DEVICES,
    Advert,
    ProtocolError,
    Task,
    statement,
)
from terrycloth.models.secure_aggregation.roster import Roster, signed_by
from terrycloth.models.secure_aggregation.thresholds import SharingPlan, honest, plan_for


def check_advert(advert: Advert, task: Task, roster: Roster | None, most_devices: int = MOST_DEVICES) -> None:
    """Raise ProtocolError unless an identity of the roster signed this advert for this task.

    Without a roster (None), any identity with up to `most_devices` devices may sign. Only a server may be
    without one; nodes have one. Two adverts may hold the same X25519 key: names are part of every derived
    key, so a copied key opens nothing.
    """
    if roster is not None and advert.name not in roster:
        raise ProtocolError("identity not in the roster")
    if not 0 < advert.devices <= most_devices or len(advert.commitment) != KEY_BYTES:
        raise ProtocolError("advert out of range")
    if not signed_by(advert.identity, advert.signature, advert.statement(task)):
        raise ProtocolError("advert not signed for this task")
    if roster is not None and advert.devices > roster.devices[advert.name]:
        raise ProtocolError("more devices than the roster allows")
    if not usable(advert.share_key) or not usable(advert.mask_key):
        raise ProtocolError("unusable public key")


class View:
    """Adverts by name, in order, and what follows from them. Raises ProtocolError on a duplicate name."""

    def __init__(self, task: Task, adverts: Iterable[Advert], fraction: float) -> None:
        listed = [(advert.name, advert) for advert in adverts]
        self.task = task
        self.adverts = dict(sorted(listed, key=lambda pair: pair[0]))
        if len(self.adverts) != len(listed):
            raise ProtocolError("duplicate name")
        self.names = list(self.adverts)
        self.plan: SharingPlan = plan_for(len(self.names), fraction)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the task and of every advert, without the signatures.

        Signatures are left out because anybody can make a second valid ECDSA signature from one, and the
        signer any number.
        """
        hashed = hashlib.sha256(statement("view", *self.task.parts(), len(self.names)))
        for advert in self.adverts.values():
            hashed.update(advert.statement(self.task))
        return hashed.digest()

    @cached_property
    def ring(self) -> list[str]:
        """Names in an order that the digest decides (thresholds.py says what it takes to steer it)."""
        return sorted(self.names, key=lambda name: hashlib.sha256(self.digest + name.encode()).digest())

    @cached_property
    def places(self) -> dict[str, int]:
        """Place on the ring by name."""
        return {name: place for place, name in enumerate(self.ring)}

    def neighbours(self, name: str) -> list[str]:
        """Return the nodes that share masks with this one and hold shares of its secrets, in name order."""
        if not self.plan.half:
            return [other for other in self.names if other != name]
        place, half = self.places[name], self.plan.half
        steps = [*range(-half, 0), *range(1, half + 1)]
        return sorted(self.ring[(place + step) % len(self.ring)] for step in steps)

    def holders(self, name: str) -> list[str]:
        """Return the neighbours and the node itself, in order of names: holder number k is the k-th."""
        return sorted([*self.neighbours(name), name])

    def devices(self, names: Iterable[str]) -> int:
        """Return how many devices these nodes stand for."""
        return sum(self.adverts[name].devices for name in names)

    def honest_devices(self, names: Iterable[str]) -> int:
        """Return how many devices of these nodes are left if as many nodes collude as are tolerated."""
        return honest((self.adverts[name].devices for name in names), self.plan.tolerated)

    def linked(self, masked: Iterable[str]) -> bool:
        """Return whether U3 has enough members in every row of the ring (thresholds.py says why)."""
        half, size = self.plan.half, len(self.ring)
        if not half:
            return True
        members = set(masked)
        inside = [name in members for name in self.ring] * 2
        return all(sum(inside[start : start + half]) >= self.plan.in_a_row for start in range(size))

    def signed(self, name: str, signature: bytes, statement: bytes) -> bool:
        """Return whether this participant signed the statement."""
        return signed_by(self.adverts[name].identity, signature, statement)


def check_names(names: list[str], within: Iterable[str], least: int) -> None:
    """Raise ProtocolError unless names are ordered, distinct, known, and at least `least`."""
    if any(first >= second for first, second in pairwise(names)):
        raise ProtocolError("names out of order or duplicate")
    if not set(names) <= set(within):
        raise ProtocolError("unknown name")
    if len(names) < least:
        raise ProtocolError("too few nodes")
