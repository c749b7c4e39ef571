"""One session of secure aggregation over Flower: five exchanges, of which the strategy sends the last.

`secure.secure_aggregation` holds the protocol. This file turns its records into messages, and checks that
every reply holds what its stage allows and nothing else.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from terrycloth.models.secure_aggregation.exchange import (
    ADVERTISE,
    CONFIRM,
    EXCHANGE_RECORD,
    MASK,
    MESSAGE_RECORD,
    SHARE,
    UNMASK,
    Exchange,
    floors_of,
    pack_exchange,
    unpack_exchange,
)
from terrycloth.models.secure_aggregation.masks import Vector, dtype_of
from terrycloth.models.secure_aggregation.messages import MOST_DEVICES, ProtocolError, RoundFailed, Task
from terrycloth.models.secure_aggregation.messages import Message as Stage
from terrycloth.models.secure_aggregation.roster import Roster
from terrycloth.models.update import (
    REPLY_RECORD,
    STEPS,
    UPDATE_RECORD,
    InvalidReply,
    Reply,
    Request,
    checked_update,
    digest,
    expected_update,
    pack_query,
    pack_request,
    unpack_facts,
    unpack_reply,
)
from terrycloth.server.replies import first_replies, refuse
from terrycloth.server.secure.secure_aggregation import Record, SecureRound

Read = TypeVar("Read")

SESSION_BYTES = 32


class SecureExchange:
    """A round's session of secure aggregation.

    Afterwards `invalid` counts the replies that were not used, and `refused` the devices that refused, both
    by reason.

    most_devices: the most devices behind one node, if no roster says it for each. at_fault: by node, why its
    own message could not be used, if no honest node's message would look like that. It is only as reliable as
    the link's word about who sent a message, so make SuperNodes authenticate.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Iterable[int],
        request: Request,
        timeout: float,
        roster: Roster | None = None,
        most_devices: int = MOST_DEVICES,
    ) -> None:
        settings = request.settings
        steps = expected_update(settings, request.parameters)[STEPS]
        self.grid = grid
        self.nodes = frozenset(nodes)
        self.request = request
        self.timeout = timeout
        self.expected = {STEPS: steps}
        self.task = Task(
            session=secrets.token_bytes(SESSION_BYTES),
            round=settings.round,
            query=digest(request),
            width=8 * steps.element_size(),
            length=len(steps),
        )
        self.session = SecureRound(self.task, floors_of(settings), roster, most_devices)
        self.refused: Counter[str] = Counter()
        self.invalid: Counter[str] = Counter()
        self.bytes_down: Counter[int] = Counter()  # by node, over all stages
        self.bytes_up: Counter[int] = Counter()

    @property
    def at_fault(self) -> dict[int, str]:
        """The nodes at fault in the session, and those whose messages could not even be read."""
        return self.session.at_fault

    def open(self) -> list[Message]:
        """Run stages 1 to 4 and return the messages of stage 5, or none if too few nodes are left."""
        try:
            query = pack_exchange(Exchange(ADVERTISE, self.task.session, self.task.round))
            query.update(pack_query(self.request))
            lists = self.session.adverts(
                self.query_nodes(ADVERTISE, dict.fromkeys(self.nodes, query), self.read_advert)
            )
            shares = self.query_nodes(SHARE, self.packed(SHARE, lists), read)
            relayed = self.packed(MASK, self.session.shares(shares))
            for content in relayed.values():
                content.update(pack_request(self.request))
            masked = self.session.masked(self.query_nodes(MASK, relayed, self.read_masked))
            confirmations = self.query_nodes(CONFIRM, self.packed(CONFIRM, masked), read)
            return self.messages(self.packed(UNMASK, self.session.confirmations(confirmations)))
        except RoundFailed as failed:
            self.invalid[f"secure aggregation: {failed}"] += 1
            return []

    def close(self, replies: Iterable[Message]) -> list[Reply]:
        """Run stage 5 and return the sum over all nodes in it, as one reply.

        The list is empty if the sum cannot be unmasked.
        """
        answers = []
        try:
            total = self.session.unmaskings(self.received(UNMASK, replies, read))
            signed = total.vector.view(np.dtype(f"int{self.task.width}"))
            answers.append(Reply(self.task.round, {STEPS: torch.from_numpy(signed)}, total.devices))
        except RoundFailed as failed:
            if not self.invalid:  # otherwise it failed earlier, and the reason is counted
                self.invalid[f"secure aggregation: {failed}"] += 1
        self.invalid.update(self.session.dropped)
        return answers

    def query_nodes(
        self, stage: int, contents: Mapping[int, RecordDict], read: Callable[[RecordDict], Read]
    ) -> dict[int, Read]:
        """Send one stage's messages, and return the answers that arrive in time, by node."""
        replies = self.grid.send_and_receive(self.messages(contents), timeout=self.timeout)
        return self.received(stage, replies, read)

    def received(
        self, stage: int, replies: Iterable[Message], read: Callable[[RecordDict], Read]
    ) -> dict[int, Read]:
        """Return the nodes' answers, by node.

        Refusals and unreadable messages are counted, and their nodes are left out.
        """
        answers: dict[int, Read] = {}
        for node, message in first_replies(replies, self.nodes, self.invalid):
            try:
                self.bytes_up[node] += size(message.content)
                if EXCHANGE_RECORD not in message.content:  # a refusal, or no device was sampled
                    refusal = unpack_reply(message.content, {}, self.task.round)
                    self.refused.update(refusal.refused)
                    continue
                if unpack_exchange(message.content) != Exchange(stage, self.task.session, self.task.round):
                    raise InvalidReply("stale stage")
                answers[node] = read(message.content)
            except (InvalidReply, ProtocolError) as reason:
                refuse(node, str(reason), self.invalid)
                self.at_fault[node] = str(reason)
        return answers

    def read_advert(self, content: RecordDict) -> Record:
        """Stage 1: read an advert, and the facts that come with any reply."""
        record = _record(content, {REPLY_RECORD})
        facts = content[REPLY_RECORD]
        assert isinstance(facts, ConfigRecord)
        _, refused = unpack_facts(facts, self.task.round)
        self.refused.update(refused)
        return record

    def read_masked(self, content: RecordDict) -> tuple[Record, Vector]:
        """Stage 3: read a signature, and a vector of the task's width and length."""
        record = _record(content, {UPDATE_RECORD})
        arrays = content[UPDATE_RECORD]
        assert isinstance(arrays, ArrayRecord)
        vector: Vector = checked_update(arrays, self.expected)[STEPS].numpy().view(dtype_of(self.task.width))
        return record, vector

    def packed(self, stage: int, stages: Mapping[int, Stage]) -> dict[int, RecordDict]:
        """Return the messages of a stage as Flower content, by node."""
        exchange = Exchange(stage, self.task.session, self.task.round)
        return {node: pack_exchange(exchange, message) for node, message in stages.items()}

    def messages(self, contents: Mapping[int, RecordDict]) -> list[Message]:
        """Return the contents as Flower messages to their nodes, and count their bytes."""
        self.bytes_down.update({node: size(content) for node, content in contents.items()})
        return [
            Message(content=content, dst_node_id=node, message_type=MessageType.TRAIN)
            for node, content in contents.items()
        ]


def size(content: RecordDict) -> int:
    """Return the bytes of the values in a message, without names and framing."""
    return sum(_bytes_of(value) for record in content.values() for value in record.values())


def _bytes_of(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_bytes_of, value))
    if isinstance(value, Array):
        return len(value.data)
    return len(value) if isinstance(value, bytes | str) else 8


def read(content: RecordDict) -> Record:
    """Read a message that has no other record beside it. Raises InvalidReply otherwise."""
    return _record(content, set())


def _record(content: RecordDict, others: set[str]) -> Record:
    """Return the message's record, if the only records beside it are those named in `others`.

    Raises InvalidReply otherwise.
    """
    record = content.get(MESSAGE_RECORD)
    kinds = {REPLY_RECORD: ConfigRecord, UPDATE_RECORD: ArrayRecord}
    if set(content) != {EXCHANGE_RECORD, MESSAGE_RECORD, *others} or not isinstance(record, ConfigRecord):
        raise InvalidReply("unknown record")
    if not all(isinstance(content[name], kinds[name]) for name in others):
        raise InvalidReply("unknown record")
    return dict(record)
