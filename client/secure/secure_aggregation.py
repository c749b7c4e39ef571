"""A node's side of secure aggregation: five messages in, five out, each checked before it is answered.

The protocol is that of Bonawitz et al. 2017, figure 4, and Bell et al. 2020, algorithms 2 and 3;
models/secure_aggregation describes how they are combined and against whom the protocol is secure. This module
does not depend on how messages are transported.
"""

from collections.abc import Callable
from dataclasses import replace

from terrycloth.client.secure.identity import Identity
from terrycloth.client.secure.secure_session import Session, Stage
from terrycloth.models.secure_aggregation.keys import (
    KEY_BYTES,
    commitment,
    new_private_key,
    own_mask_key,
    pairwise_mask_key,
    public_key,
    seal,
    unseal,
)
from terrycloth.models.secure_aggregation.masks import Vector, add_pairwise, expand
from terrycloth.models.secure_aggregation.messages import (
    Advert,
    AdvertList,
    Confirmation,
    Confirmations,
    Masked,
    MaskedList,
    ProtocolError,
    RelayedShares,
    Shares,
    Task,
    Unmasking,
    confirmed_statement,
    masked_statement,
)
from terrycloth.models.secure_aggregation.roster import Roster
from terrycloth.models.secure_aggregation.shares import split
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.models.secure_aggregation.view import View, check_advert, check_names


class Participant:
    """A node: its identity, the roster that it trusts, and the floors that a round must reach.

    Each method answers one message. All of them raise ProtocolError, without an answer, if the message is
    refused; the error's text reveals nothing private.
    """

    def __init__(self, identity: Identity, roster: Roster, floors: Floors) -> None:
        if identity.name not in roster:
            raise ValueError("the node's own identity is not in the roster")
        self.identity = identity
        self.roster = roster
        self.floors = floors

    def advertise(self, task: Task, devices: int) -> tuple[Session, Advert]:
        """Stage 1: fresh keys, signed. devices: the public number of devices in the node's vector."""
        share_private, mask_private, seed = (new_private_key() for _ in range(3))
        unsigned = Advert(
            identity=self.identity.public,
            devices=devices,
            share_key=public_key(share_private),
            mask_key=public_key(mask_private),
            commitment=commitment(seed),
            signature=b"",
        )
        advert = replace(unsigned, signature=self.identity.sign(unsigned.statement(task)))
        return Session(task, advert, share_private, mask_private, seed), advert

    def share(self, session: Session, message: AdvertList) -> Shares:
        """Stage 2: shares of the node's two secrets, each encrypted for its holder."""
        with session.answering(Stage.SHARED):
            adverts = message.adverts()
            if len(adverts) < self.floors.least_nodes:
                raise ProtocolError("too few nodes")
            for advert in adverts:
                check_advert(advert, session.task, self.roster)
            if session.advert not in adverts:
                raise ProtocolError("own advert missing or changed")
            session.adverts = adverts
            view = self._view(session)
            self._check_devices(view, view.names)
            return self._split(session, view)

    def mask(
        self, session: Session, message: RelayedShares, train: Callable[[], Vector]
    ) -> tuple[Masked, Vector]:
        """Stage 3: the vector that `train` returns, uint32 or uint64 [length], plus the masks.

        `train` runs only after all checks have passed. The session has by then advanced to its state after
        this stage, so `train` may save it first: a crash during training then costs the round, and nothing
        else.
        """
        with session.answering(Stage.MASKED):
            view, name = self._view(session), self.identity.name
            check_names(message.shared, view.names, view.plan.agreement)
            if name not in message.shared:
                raise ProtocolError("own shares missing")
            self._check_devices(view, message.shared)
            neighbours = _among(view.neighbours(name), message.shared)
            if len(neighbours) != len(message.ciphertexts):
                raise ProtocolError("one ciphertext for each neighbour is needed")
            for sender, sealed in zip(neighbours, message.ciphertexts, strict=True):
                key = view.adverts[sender].share_key
                session.held[sender] = unseal(session.share_private, key, view.digest, sender, name, sealed)
            session.shared = message.shared
            masks = self._masks(session, view, neighbours)
            vector = train()
            if vector.dtype != masks.dtype or vector.shape != masks.shape:
                raise ValueError(f"the vector must be {masks.dtype} [{session.task.length}]")
            signature = self.identity.sign(masked_statement(view.digest, session.shared))
            return Masked(signature), vector + masks

    def confirm(self, session: Session, message: MaskedList) -> Confirmation:
        """Stage 4: sign the lists, provided that all nodes in U3 masked under the same U2 as this node."""
        with session.answering(Stage.CONFIRMED):
            view = self._view(session)
            check_names(message.masked, session.shared, view.plan.agreement)
            if self.identity.name not in message.masked:
                raise ProtocolError("own masked vector missing")
            self._check_devices(view, message.masked)
            if not view.linked(message.masked):
                raise ProtocolError("too many neighbours dropped")
            statement = masked_statement(view.digest, session.shared)
            _check_signatures(view, message.masked, message.signatures, statement)
            session.masked = message.masked
            return Confirmation(self.identity.sign(self._lists(session, view)))

    def unmask(self, session: Session, message: Confirmations) -> Unmasking:
        """Stage 5: a share of the seed of each node in U3, and of the mask key of each other node in U2."""
        with session.answering(Stage.CLOSED):
            view, name = self._view(session), self.identity.name
            check_names(message.confirmed, session.masked, view.plan.agreement)
            _check_signatures(view, message.confirmed, message.signatures, self._lists(session, view))
            shares = []
            for owner in _among(view.holders(name), session.shared):
                # A held entry is a key share and a seed share: only one of them is released per owner.
                key_share, seed_share = session.held[owner][:KEY_BYTES], session.held[owner][KEY_BYTES:]
                shares.append(seed_share if owner in session.masked else key_share)
            session.close()
            return Unmasking(shares)

    def _view(self, session: Session) -> View:
        return View(session.task, session.adverts, self.floors.agreement)

    def _check_devices(self, view: View, names: list[str]) -> None:
        if view.honest_devices(names) < self.floors.least_devices:
            raise ProtocolError("too few devices")

    def _lists(self, session: Session, view: View) -> bytes:
        return confirmed_statement(view.digest, session.shared, session.masked)

    def _split(self, session: Session, view: View) -> Shares:
        """Split both secrets among the holders, and keep the node's own shares."""
        name, holders = self.identity.name, view.holders(self.identity.name)
        halves = (
            split(secret, view.plan.shares, len(holders)) for secret in (session.mask_private, session.seed)
        )
        ciphertexts = []
        for holder, key_share, seed_share in zip(holders, *halves, strict=True):
            if holder == name:
                session.held[name] = key_share + seed_share
                continue
            key = view.adverts[holder].share_key
            ciphertexts.append(
                seal(session.share_private, key, view.digest, name, holder, key_share + seed_share)
            )
        return Shares(ciphertexts)

    def _masks(self, session: Session, view: View, neighbours: list[str]) -> Vector:
        """Sum of the node's own mask and the masks that it shares with its neighbours in U2: [length]."""
        name, task = self.identity.name, session.task
        masks = expand(own_mask_key(session.seed, view.digest), task.width, task.length)
        for other in neighbours:
            key = pairwise_mask_key(
                session.mask_private, view.adverts[other].mask_key, view.digest, (name, other)
            )
            add_pairwise(masks, expand(key, task.width, task.length), name, other)
        return masks


def _among(names: list[str], members: list[str]) -> list[str]:
    inside = set(members)
    return [name for name in names if name in inside]


def _check_signatures(view: View, names: list[str], signatures: list[bytes], statement: bytes) -> None:
    if len(names) != len(signatures):
        raise ProtocolError("one signature for each name is needed")
    for name, signature in zip(names, signatures, strict=True):
        if not view.signed(name, signature, statement):
            raise ProtocolError("a node signed lists that are not those shown to this node")
