"""A node's part in a round of secure aggregation: one Flower message per stage, with its session on disk.

`secure.secure_aggregation` checks the messages, and this module connects them to the devices. The devices are
charged before their node advertises. So a round that fails may charge them for more than it released, but
never for less. Each session is a separate query with its own training and noise. Otherwise, two sums of the
same noised vectors over different nodes would differ by what a few nodes sent, under only a few shares of
noise.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from flwr.app import RecordDict

from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.policy import Policy, bytes_of
from terrycloth.client.secure.identity import Identity
from terrycloth.client.secure.secure_aggregation import Participant
from terrycloth.client.secure.secure_session import Session
from terrycloth.client.storage import Declined
from terrycloth.models.durable import locked, owner_only, write_private
from terrycloth.models.errors import UserError
from terrycloth.models.secure_aggregation.exchange import (
    ADVERTISE,
    CONFIRM,
    MASK,
    SHARE,
    Exchange,
    floors_of,
    pack_exchange,
    unpack_exchange,
    unpack_message,
)
from terrycloth.models.secure_aggregation.masks import Vector, dtype_of
from terrycloth.models.secure_aggregation.messages import (
    AdvertList,
    Confirmations,
    MaskedList,
    ProtocolError,
    RelayedShares,
    Task,
)
from terrycloth.models.secure_aggregation.roster import ROSTER_FILE, Roster
from terrycloth.models.secure_aggregation.thresholds import least_listed
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import (
    REPLY_RECORD,
    STEPS,
    UPDATE_RECORD,
    Refusal,
    Reply,
    digest,
    pack_reply,
    to_arrays,
    unpack_query,
    unpack_request,
)

logger = logging.getLogger(__name__)

Unpacked = TypeVar("Unpacked")


class SecureNode:
    """The devices of a device group as one participant in secure aggregation.

    identity, roster: paths of the owner's files; by default in the device group's folder.
    """

    def __init__(self, group: DeviceGroup, identity: Path | None = None, roster: Path | None = None) -> None:
        self.group = group
        self.identity_path = identity or group.own_path("identity")
        self.roster_path = roster or group.folder / ROSTER_FILE
        self.session_path = group.own_path("session", ".json")

    def answer(self, content: RecordDict) -> RecordDict:
        """Return the answer to one stage, or a typed refusal, which reveals nothing that the devices hold."""
        exchange = Exchange(0, b"", 0)
        try:
            exchange = unpack_exchange(content)
            with locked(self.session_path.with_suffix(".lock")):
                if exchange.stage == ADVERTISE:
                    return self.advertise(exchange, content)
                return self.go_on(exchange, content)
        except Declined as declined:
            reason = declined.reason
        except (ProtocolError, UserError) as error:
            logger.error("this node takes no part in secure aggregation: %s", error)
            reason = Refusal.UNSOUND
        return pack_reply(self.group.refuse(exchange.round, reason))

    def advertise(self, exchange: Exchange, content: RecordDict) -> RecordDict:
        """Stage 1: charge the devices sampled for this session, and advertise how many they are."""
        settings, query = understood(unpack_query, content)
        if not settings.trust_model.secure_aggregation or settings.round != exchange.round:
            raise ProtocolError("the query is not for secure aggregation")
        policy = self.group.allow(settings)
        participant = self.participant(settings, policy)
        shared = self.group.load_model(settings).shared_parameters()
        steps = self.group.allowed_update(settings, policy, shared)[STEPS]
        task = Task(exchange.session, settings.round, query, 8 * steps.element_size(), len(steps))
        with self.group.booked(settings, name_of(task, settings), policy) as state:
            if state.replied:
                raise ProtocolError("the session is over")
            facts = pack_reply(Reply(settings.round, {}, int(state.took_part.sum()), state.refused))
            if not state.took_part.any():
                return facts
            session, advert = participant.advertise(task, int(state.took_part.sum()))
        self.save(session, settings)
        answer = pack_exchange(exchange, advert)
        answer[REPLY_RECORD] = facts[REPLY_RECORD]
        return answer

    def go_on(self, exchange: Exchange, content: RecordDict) -> RecordDict:
        """Stages 2 to 5 of the session that this node last advertised for."""
        session, settings = self.load()
        if (session.task.session, session.task.round) != (exchange.session, exchange.round):
            raise ProtocolError("the message belongs to another session")
        participant = self.participant(settings, self.group.allow(settings))
        try:
            if exchange.stage == SHARE:
                return pack_exchange(
                    exchange, participant.share(session, unpack_message(content, AdvertList))
                )
            if exchange.stage == MASK:
                return self.mask(exchange, content, participant, session, settings)
            if exchange.stage == CONFIRM:
                lists = unpack_message(content, MaskedList)
                return pack_exchange(exchange, participant.confirm(session, lists))
            signatures = unpack_message(content, Confirmations)
            return pack_exchange(exchange, participant.unmask(session, signatures))
        finally:
            # Before the answer leaves, and also after a refusal, which closes the session.
            self.save(session, settings)

    def mask(
        self,
        exchange: Exchange,
        content: RecordDict,
        participant: Participant,
        session: Session,
        settings: RoundSettings,
    ) -> RecordDict:
        """Stage 3: train the devices that were charged, and send their masked sum."""
        request = understood(unpack_request, content)
        if request.settings != settings or digest(request) != session.task.query:
            raise ProtocolError("the query is not the one that was charged")
        self.group.expected(request, self.group.allow(settings))
        with self.group.opened(settings) as state:
            if state.query != name_of(session.task, settings) or state.replied:
                raise ProtocolError("the query is not the one that was charged")

            def train() -> Vector:
                self.save(session, settings)  # so that this stage is never answered twice, even after a crash
                self.group.train(state, request)
                steps, state.update = state.update[STEPS], {}  # the unmasked update is not stored
                self.group.storage.conclude(state, settings, bytes_of({STEPS: steps}), self.group.task)
                vector: Vector = steps.numpy().view(dtype_of(session.task.width))
                return vector

            signed, vector = participant.mask(session, unpack_message(content, RelayedShares), train)
        answer = pack_exchange(exchange, signed)
        signed_integers = vector.view(np.dtype(f"int{session.task.width}"))
        answer[UPDATE_RECORD] = to_arrays({STEPS: torch.from_numpy(signed_integers)})
        return answer

    def participant(self, settings: RoundSettings, policy: Policy) -> Participant:
        """Return this node as a participant, with its minimum requirements of a round.

        Raises UserError if the identity or the roster is missing, or does not match this node.
        """
        # An app's working directory holds files from the server, whose roster could list invented nodes.
        if not (self.identity_path.is_absolute() and self.roster_path.is_absolute()):
            raise UserError("the paths of identity and roster must be absolute: set absolute paths")
        identity, roster = Identity.load(self.identity_path), Roster.load(self.roster_path)
        if identity.name not in roster:
            raise UserError(f"the roster {self.roster_path} does not list this node's identity: add it")
        held, listed = len(self.group.devices), roster.devices[identity.name]
        if held > listed:  # every other node would refuse this node's advert
            message = (
                f"the roster {self.roster_path} allows this node devices={listed}, and its device group has"
            )
            raise UserError(f"{message} {held}: correct the roster on every node")
        least_nodes = max(policy.least_nodes, least_listed(len(roster.devices)))
        return Participant(identity, roster, floors_of(settings, least_nodes))

    def save(self, session: Session, settings: RoundSettings) -> None:
        """Write the session to a file that only its owner can read, on disk when this returns."""
        record = {"settings": settings.model_dump(), "session": session.to_dict()}
        write_private(self.session_path, json.dumps(record).encode())

    def load(self) -> tuple[Session, RoundSettings]:
        """Read the session that `save` wrote. Raises ProtocolError if there is none or it is damaged."""
        try:
            record = json.loads(self.session_path.read_bytes())
            settings = RoundSettings.model_validate(record["settings"])
            return Session.from_dict(record["session"]), settings
        except (OSError, ValueError, KeyError, TypeError):
            raise ProtocolError("no session can be read") from None


def understood(unpack: Callable[[RecordDict], Unpacked], content: RecordDict) -> Unpacked:
    """Unpack a message. Raises Declined if this version does not know all of its contents."""
    try:
        return unpack(content)
    except (ValueError, KeyError, TypeError):
        raise Declined(Refusal.SETTINGS) from None


@owner_only()
def lay_out_identities(folder: Path, partitions: int) -> None:
    """Write a new identity for each node of a device group and a roster of all nodes, as an owner would.

    partitions: number of nodes, each with at least one device.
    """
    lines = []
    for partition in range(partitions):
        group, identity = DeviceGroup(folder, partition, partitions), Identity.new()
        identity.save(group.own_path("identity"))
        lines.append(f"{identity.public.decode()} devices={len(group.devices)}")
    (folder / ROSTER_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def name_of(task: Task, settings: RoundSettings) -> str:
    """A digest of a query and its session: the same query has another digest in another session."""
    hashed = hashlib.sha256(settings.model_dump_json().encode())
    hashed.update(len(task.session).to_bytes(8) + task.session + task.query)
    return hashed.hexdigest()
