"""The server's side of secure aggregation: collect a stage's answers and write the next stage's messages.

Bonawitz et al. 2017, figure 4, and Bell et al. 2020, algorithms 2 and 3 (models/secure_aggregation). A node
that is late is left out. A node that sends something unusable is left out too, and counted by reason. The
server releases nothing but the sum over all of U3. No promise depends on this file, because each node checks
for itself.

A node is named here by its number in the network. Answers are {node: record}, and messages are {node:
message}.
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
    """The sum of the vectors mod 2^width: [length].

    names: the nodes whose vectors are in it. devices: how many devices these nodes stand for.
    """

    vector: Vector
    names: list[str]
    devices: int


class SecureRound:
    """One session. Call `adverts`, `shares`, `masked`, `confirmations` and `unmaskings` once each, in order.

    Each raises RoundFailed if too few nodes are left.

    floors: the floors that nodes are expected to have; the server gains nothing by lower ones. most_devices:
    the most devices behind one node, if no roster says it for each. dropped: the number of unusable answers,
    by reason.

    at_fault: by node, the check that its answer failed, if no honest node's answer would fail it (a wrong
    size, or a signature of something else than what was sent). One node's word against another is no ground,
    since a colluding node could accuse any other. So nobody is at fault for: shares that their holder cannot
    decrypt, as it cannot prove that; shares that are inconsistent, since their dealer or those who returned
    them may be to blame; a name that two nodes use, since one may have stolen it; a vector that spoils the
    sum, since nobody sees it alone.
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
        self.names: dict[int, str] = {}  # nodes that have answered every stage so far
        self.shared_names: list[str] = []  # U2
        self.masked_names: list[str] = []  # U3
        self._total: Vector | None = None  # of masked vectors

    def adverts(self, answers: Mapping[int, Record]) -> dict[int, AdvertList]:
        """After stage 1: return the list of adverts, for each node that sent a valid one."""

        def check(node: int, record: Record) -> Advert:
            advert = Advert.from_dict(record)
            check_advert(advert, self.task, self.roster, self.most_devices)
            return advert

        with self._stage(Step.ADVERTS):
            self.names = dict.fromkeys(answers, "")  # any node may advertise
            adverts = self._checked(answers, check)
            taken = Counter(advert.name for advert in adverts.values())
            # If two nodes use one name, neither is believed: the first to arrive might be the copy.
            adverts = {node: advert for node, advert in adverts.items() if taken[advert.name] == 1}
            if duplicates := sum(count for count in taken.values() if count > 1):
                self.dropped["duplicate name"] += duplicates
            self.view = View(self.task, adverts.values(), self.floors.agreement)
            self.names = {node: advert.name for node, advert in adverts.items()}
            self._enough_noise(self._enough(self.floors.least_nodes))
            message = AdvertList.of(adverts.values())
            return dict.fromkeys(self.names, message)

    def shares(self, answers: Mapping[int, Record]) -> dict[int, RelayedShares]:
        """After stage 2: return, for each node, U2 and the ciphertexts addressed to it."""

        def check(node: int, record: Record) -> dict[str, bytes]:
            ciphertexts = Shares.from_dict(record).ciphertexts
            neighbours = self.view.neighbours(self.names[node])
            if len(ciphertexts) != len(neighbours) or any(len(c) != SEALED_BYTES for c in ciphertexts):
                raise ProtocolError("wrong number or size of shares")
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
        """After stage 3: return U3 and its signatures, for each node whose masked vector arrived."""

        def check(node: int, answer: tuple[Record, Vector]) -> tuple[bytes, Vector]:
            record, vector = answer
            signature = Masked.from_dict(record).signature
            if vector.dtype != dtype_of(self.task.width) or vector.shape != (self.task.length,):
                raise ProtocolError("wrong type or length of vector")
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
        """After stage 4: return the signers of the lists, for each node that signed them."""

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
        """After stage 5: return the sum over U3."""

        def check(node: int, record: Record) -> dict[str, bytes]:
            shares = Unmasking.from_dict(record).shares
            owners = [name for name in self.view.holders(self.names[node]) if name in self.shared_names]
            if len(shares) != len(owners) or any(len(share) != SHARE_BYTES for share in shares):
                raise ProtocolError("wrong number or size of shares")
            return dict(zip(owners, shares, strict=True))

        with self._stage(Step.UNMASKINGS):
            given = self._checked(answers, check)
            self._keep(given)
            shares: dict[str, dict[str, bytes]] = {name: {} for name in self.shared_names}
            for node, by_owner in given.items():
                for owner, share in by_owner.items():
                    shares[owner][self.names[node]] = share
            total, self._total = self._total, None
            assert total is not None  # set by `masked`
            wrong_shares = take_off_masks(total, self.view, self.shared_names, self.masked_names, shares)
            if wrong_shares:
                self.dropped["wrong share"] += wrong_shares
            return Total(total, self.masked_names, self.view.devices(self.masked_names))

    @contextmanager
    def _stage(self, step: Step) -> Iterator[None]:
        """Allow each step once, in order, and none after a failure."""
        if step != self.step:
            raise RoundFailed(f"{step.name.lower()} came out of order")
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
        """Return the results of `check` by node, and count the answers that it rejects by reason."""
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

    def _enough(self, minimum: int) -> list[str]:
        """Return the names of the remaining nodes, in order. Raises RoundFailed if too few are left."""
        names = sorted(self.names.values())
        if len(names) < minimum:
            raise RoundFailed("too few nodes")
        return names

    def _enough_noise(self, names: list[str]) -> None:
        """Raise RoundFailed if too few devices are left.

        Nodes would refuse such a sum, and what they have spent would be lost.
        """
        if self.view.honest_devices(names) < self.floors.least_devices:
            raise RoundFailed("too few devices")

    def _signature(self, node: int, signature: bytes, statement: bytes) -> bytes:
        if not self.view.signed(self.names[node], signature, statement):
            raise ProtocolError("lists not signed")
        return signature
