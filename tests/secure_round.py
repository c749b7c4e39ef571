"""A round of secure aggregation with all nodes in one process, which tests can run, stop and tamper with."""

import json
import os
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import numpy as np

from terrycloth.client.secure.identity import Identity
from terrycloth.client.secure.secure_aggregation import Participant
from terrycloth.client.secure.secure_session import Session
from terrycloth.models.secure_aggregation.masks import Vector
from terrycloth.models.secure_aggregation.messages import (
    AdvertList,
    Confirmations,
    MaskedList,
    Message,
    RelayedShares,
    Task,
)
from terrycloth.models.secure_aggregation.roster import Roster
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.server.secure.secure_aggregation import SecureRound, Total

STAGES = ("advertise", "share", "mask", "confirm", "unmask")
KINDS: dict[str, type[Message]] = {
    "share": AdvertList,
    "mask": RelayedShares,
    "confirm": MaskedList,
    "unmask": Confirmations,
}
COLLECTORS = ("adverts", "shares", "masked", "confirmations", "unmaskings")


@cache
def identity(number: int) -> Identity:
    """Return the identity of node `number`, the same in every test of a process."""
    return Identity.new()


def new_task(width: int = 64, length: int = 16, **changes: Any) -> Task:
    """Return the task of a new session, with a random session name."""
    values = {"session": os.urandom(16), "round": 3, "query": b"q" * 32, "width": width, "length": length}
    return Task(**values | changes)


class Rehearsal:
    """Nodes 0 … nodes − 1 and the server of one round. Node k stands for k + 1 devices."""

    def __init__(
        self, nodes: int, *, width: int = 64, length: int = 16, floors: Floors | None = None
    ) -> None:
        self.task = new_task(width, length)
        self.floors = floors or Floors(least_devices=2)
        self.identities = [identity(number) for number in range(nodes)]
        self.roster = Roster({i.name: number + 1 for number, i in enumerate(self.identities)})
        self.nodes = [Participant(i, self.roster, self.floors) for i in self.identities]
        self.names = [i.name for i in self.identities]
        self.server = SecureRound(self.task, self.floors, self.roster)
        draw = np.random.default_rng(nodes)
        self.vectors = draw.integers(0, 2**width, (nodes, length), dtype=f"uint{width}")
        self.sessions: dict[int, str] = {}
        self.trained: list[int] = []

    def session(self, number: int) -> Session:
        """Return a node's session, read back from JSON as a fresh process would read it."""
        return Session.from_dict(json.loads(self.sessions[number]))

    def ask(self, stage: str, number: int, message: Message | None = None) -> Any:
        """Have a node answer one message, and return its record; at stage `mask`, with the masked vector."""
        node = self.nodes[number]
        if stage == "advertise":
            session, advert = node.advertise(self.task, devices=number + 1)
            self.sessions[number] = json.dumps(session.to_dict())
            return advert.to_dict()
        session, vector = self.session(number), None
        received = KINDS[stage].from_dict(message.to_dict())
        try:
            if stage == "mask":
                answer, vector = node.mask(session, received, lambda: self.train(number))
            else:
                answer = getattr(node, stage)(session, received)
        finally:
            self.sessions[number] = json.dumps(session.to_dict())
        return answer.to_dict() if vector is None else (answer.to_dict(), vector)

    def train(self, number: int) -> Vector:
        """Return a node's vector, and note that the node was asked to train."""
        self.trained.append(number)
        return self.vectors[number].copy()

    def answers(self, stage: str, messages: Mapping[int, Any], gone: Collection[int] = ()) -> dict[int, Any]:
        """Return the answers of the nodes that got a message, except those in `gone`."""
        return {n: self.ask(stage, n, message) for n, message in messages.items() if n not in gone}

    def until(self, stage: str, gone: Mapping[str, Collection[int]] | None = None) -> Any:
        """Return the messages that open `stage`, or the total for "end"; `gone` names who drops out, by
        stage.
        """
        messages: Any = dict.fromkeys(range(len(self.nodes)))
        for now, collect in zip(STAGES, COLLECTORS, strict=True):
            if now == stage:
                break
            messages = getattr(self.server, collect)(self.answers(now, messages, (gone or {}).get(now, ())))
        return messages

    def play(self, gone: Mapping[str, Collection[int]] | None = None) -> Total:
        """Play the whole round."""
        return self.until("end", gone)

    def plain(self, numbers: Collection[int]) -> Vector:
        """Return the sum of some nodes' vectors, mod 2^width."""
        return self.vectors[sorted(numbers)].sum(axis=0, dtype=self.vectors.dtype)

    def number(self, name: str) -> int:
        """Return a node's number from its name."""
        return self.names.index(name)
