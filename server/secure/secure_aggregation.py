"""The server's side of secure aggregation: collect the answers of a stage, write the messages of the next.

Bonawitz et al. 2017, figure 4, and Bell et al. 2020, algorithms 2 and 3 (models/secure_aggregation). A node
that is late is left out; one that sends what cannot be used is left out too, and counted by reason. Nothing
is released but the sum over all of U3. No promise rests on this file: each node checks for itself.

A node is named here by its number in the network; answers are {node: record}, messages {node: message}.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from terrycloth.models.secure_aggregation.keys import SEALED_BYTES
from terrycloth.models.secure_aggregation.masks import Vector, dtype_of
from terrycloth.models.secure_aggregation.messages import (
    MOST_DEVICES,
    Advert,
    AdvertList,
    Confirmation,
    Confirmations,
    Masked,
    MaskedList,
    ProtocolError,
    RelayedShares,
    RoundFailed,
    Shares,
    Task,
    Unmasking,
    confirmed_statement,
    masked_statement,
)
from terrycloth.models.secure_aggregation.roster import Roster
from terrycloth.models.secure_aggregation.shares import SHARE_BYTES
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.models.secure_aggregation.view import View, check_advert
from terrycloth.server.secure.unmasking import take_off_masks

Record = Mapping[str, object]
Answer = TypeVar("Answer")
Checked = TypeVar("Checked")


class Step(IntEnum):
    """The answers that a round waits for."""

    ADVERTS = 1
    SHARES = 2
    MASKED = 3
    CONFIRMATIONS = 4
    UNMASKINGS = 5
    OVER = 6


@dataclass(frozen=True)
class Total:
    """Sum of the vectors mod 2^width: [length]. names: whose; devices: how many they stand for."""

    vector: Vector
    names: list[str]
    devices: int


class SecureRound:
    """One session. Call `adverts`, `shares`, `masked`, `confirmations` and `unmaskings` once each, in order.

    Each raises RoundFailed if too few nodes are left. The floors are those that nodes are expected to have;
    the server gains nothing by lower ones. most_devices: behind a node, where there is no roster to say it of
    each. dropped: how many answers could not be used, by reason.

    at_fault: by node, the check that its own answer failed, and no honest node's would have: another size, a
    signature that is not of what was sent. The word of one node against another is no ground, since one that
    colludes could accuse any. So nobody is at fault for shares that do not open for their holder, who cannot
    show it; that do not fit together, whether by their dealer or by who gave them back; for a name that two
    nodes use, one of which may have stolen it; for a vector that spoils the sum, which nobody sees alone.
    """

    def __init__(
        self,
        task: Task,
        floors: Floors,
        roster: Roster | None = None,
        most_devices: int = MOST_DEVICES,
    ) -> None:
        self.task = task
        self.floors = floors
        self.roster = roster
        self.most_devices = MOST_DEVICES if roster is not None else most_devices
        self.step = Step.ADVERTS
        self.dropped: Counter[str] = Counter()
        self.at_fault: dict[int, str] = {}
        self.names: dict[int, str] = {}  # nodes that answered every stage so far
        self.shared_names: list[str] = []  # U2
        self.masked_names: list[str] = []  # U3
        self._total: Vector | None = None  # of masked vectors

    def adverts(self, answers: Mapping[int, Record]) -> dict[int, AdvertList]:
        """After stage 1: the list of adverts, for each node that sent one."""

        def check(node: int, record: Record) -> Advert:
            advert = Advert.from_dict(record)
            check_advert(advert, self.task, self.roster, self.most_devices)
            return advert

        with self._stage(Step.ADVERTS):
            self.names = dict.fromkeys(answers, "")  # any node may advertise
            adverts = self._checked(answers, check)
            taken = Counter(advert.name for advert in adverts.values())
            # Of two nodes under one name neither is believed; the first come might be the copy.
            adverts = {node: advert for node, advert in adverts.items() if taken[advert.name] == 1}
            if twice := sum(count for count in taken.values() if count > 1):
                self.dropped["a name twice"] += twice
            self.view = View(self.task, adverts.values(), self.floors.agreement)
            self.names = {node: advert.name for node, advert in adverts.items()}
            self._enough_noise(self._enough(self.floors.least_nodes))
            message = AdvertList.of(adverts.values())
            return dict.fromkeys(self.names, message)

    def shares(self, answers: Mapping[int, Record]) -> dict[int, RelayedShares]:
        """After stage 2: to each node, U2 and the ciphertexts that are for it."""

        def check(node: int, record: Record) -> dict[str, bytes]:
            ciphertexts = Shares.from_dict(record).ciphertexts
            neighbours = self.view.neighbours(self.names[node])
            if len(ciphertexts) != len(neighbours) or any(len(c) != SEALED_BYTES for c in ciphertexts):
                raise ProtocolError("shares of another number or size")
            return dict(zip(neighbours, ciphertexts, strict=True))

        with self._stage(Step.SHARES):
            sealed = self._checked(answers, check)
            self._keep(sealed)
            self.shared_names = self._enough(self.view.plan.agreement)
            self._enough_noise(self.shared_names)
            by_sender = {self.names[node]: ciphertexts for node, ciphertexts in sealed.items()}
            messages = {}
            for node, name in self.names.items():
                senders = [other for other in self.view.neighbours(name) if other in by_sender]
                relayed = [by_sender[sender][name] for sender in senders]
                messages[node] = RelayedShares(self.shared_names, relayed)
            return messages

    def masked(self, answers: Mapping[int, tuple[Record, Vector]]) -> dict[int, MaskedList]:
        """After stage 3: U3 and its signatures, for each node whose masked vector arrived."""

        def check(node: int, answer: tuple[Record, Vector]) -> tuple[bytes, Vector]:
            record, vector = answer
            signature = Masked.from_dict(record).signature
            if vector.dtype != dtype_of(self.task.width) or vector.shape != (self.task.length,):
                raise ProtocolError("vector of another type or length")
            shared = masked_statement(self.view.digest, self.shared_names)
            return self._signature(node, signature, shared), vector

        with self._stage(Step.MASKED):
            masked = self._checked(answers, check)
            self._keep(masked)
            self.masked_names = self._enough(self.view.plan.agreement)
            self._enough_noise(self.masked_names)
            if not self.view.linked(self.masked_names):
                raise RoundFailed("too many neighbours dropped")
            vectors = iter([vector for _, vector in masked.values()])
            total = next(vectors).copy()
            for vector in vectors:
                total += vector
            self._total = total
            signatures = {self.names[node]: signature for node, (signature, _) in masked.items()}
            message = MaskedList(self.masked_names, [signatures[name] for name in self.masked_names])
            return dict.fromkeys(self.names, message)

    def confirmations(self, answers: Mapping[int, Record]) -> dict[int, Confirmations]:
        """After stage 4: who signed the lists, for each that did."""

        def check(node: int, record: Record) -> bytes:
            lists = confirmed_statement(self.view.digest, self.shared_names, self.masked_names)
            return self._signature(node, Confirmation.from_dict(record).signature, lists)

        with self._stage(Step.CONFIRMATIONS):
            confirmed = self._checked(answers, check)
            self._keep(confirmed)
            names = self._enough(self.view.plan.agreement)
            signatures = {self.names[node]: signature for node, signature in confirmed.items()}
            message = Confirmations(names, [signatures[name] for name in names])
            return dict.fromkeys(self.names, message)

    def unmaskings(self, answers: Mapping[int, Record]) -> Total:
        """After stage 5: the sum over U3."""

        def check(node: int, record: Record) -> dict[str, bytes]:
            shares = Unmasking.from_dict(record).shares
            owners = [name for name in self.view.holders(self.names[node]) if name in self.shared_names]
            if len(shares) != len(owners) or any(len(share) != SHARE_BYTES for share in shares):
                raise ProtocolError("shares of another number or size")
            return dict(zip(owners, shares, strict=True))

        with self._stage(Step.UNMASKINGS):
            given = self._checked(answers, check)
            self._keep(given)
            shares: dict[str, dict[str, bytes]] = {name: {} for name in self.shared_names}
            for node, by_owner in given.items():
                for owner, share in by_owner.items():
                    shares[owner][self.names[node]] = share
            total, self._total = self._total, None
            assert total is not None  # set by `masked`, which came before
            wrong = take_off_masks(total, self.view, self.shared_names, self.masked_names, shares)
            if wrong:
                self.dropped["share that does not fit"] += wrong
            return Total(total, self.masked_names, self.view.devices(self.masked_names))

    @contextmanager
    def _stage(self, step: Step) -> Iterator[None]:
        """Take each step once, in order; after a failure none."""
        if step != self.step:
            raise RoundFailed(f"{step.name.lower()} come out of order")
        self.step = Step.OVER
        try:
            yield
        except BaseException:
            self._total = None
            raise
        self.step = Step(step + 1)

    def _checked(
        self, answers: Mapping[int, Answer], check: Callable[[int, Answer], Checked]
    ) -> dict[int, Checked]:
        """What `check` makes of each answer; the others are counted by reason."""
        checked: dict[int, Checked] = {}
        for node, answer in answers.items():
            if node not in self.names:
                self.dropped["not part of the round"] += 1
                continue
            try:
                checked[node] = check(node, answer)
            except ProtocolError as error:
                self.dropped[str(error)] += 1
                self.at_fault[node] = str(error)
        return checked

    def _keep(self, nodes: Iterable[int]) -> None:
        kept = set(nodes)
        self.names = {node: name for node, name in self.names.items() if node in kept}

    def _enough(self, least: int) -> list[str]:
        """Names of the nodes left, in order."""
        names = sorted(self.names.values())
        if len(names) < least:
            raise RoundFailed("too few nodes")
        return names

    def _enough_noise(self, names: list[str]) -> None:
        """Nodes would refuse these, and what they have spent would be lost."""
        if self.view.honest_devices(names) < self.floors.least_devices:
            raise RoundFailed("too few devices")

    def _signature(self, node: int, signature: bytes, statement: bytes) -> bytes:
        if not self.view.signed(self.names[node], signature, statement):
            raise ProtocolError("lists not signed")
        return signature
