"""What a malicious server may try with a node: each test tells one lie in an otherwise honest round."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from terrycloth.client.secure.identity import Identity
from terrycloth.client.secure.secure_aggregation import Participant
from terrycloth.client.secure.secure_session import Session, Stage
from terrycloth.models.secure_aggregation import thresholds
from terrycloth.models.secure_aggregation.keys import (
    KEY_BYTES,
    new_private_key,
    own_mask_key,
    pairwise_mask_key,
    public_key,
)
from terrycloth.models.secure_aggregation.masks import expand
from terrycloth.models.secure_aggregation.messages import (
    Advert,
    AdvertList,
    Confirmations,
    MaskedList,
    ProtocolError,
    RelayedShares,
    masked_statement,
)
from terrycloth.models.secure_aggregation.roster import Roster
from terrycloth.models.secure_aggregation.shares import combine
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.models.secure_aggregation.view import View
from tests.secure_round import Rehearsal, new_task

NODES = 6  # five must agree, and three shares open a secret


def with_lie(messages: dict[int, AdvertList], change: Callable[[list[Advert]], list[Advert]]) -> AdvertList:
    """Return the list of adverts with one lie in it."""
    return AdvertList.of(change(messages[0].adverts()))


def assert_refused(rehearsal: Rehearsal, stage: str, message: Any, reason: str, number: int = 0) -> None:
    """Check that the node refuses for this reason, trains nothing, and answers no more in this session."""
    trained = len(rehearsal.trained)
    with pytest.raises(ProtocolError, match=reason):
        rehearsal.ask(stage, number, message)
    assert len(rehearsal.trained) == trained
    session = rehearsal.session(number)
    assert session.stage == Stage.CLOSED
    secrets = session.seed, session.mask_private, session.share_private, session.held
    assert not any(secrets)


@pytest.fixture
def rehearsal() -> Rehearsal:
    return Rehearsal(NODES)


# --- stage 2: the adverts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["share_key", "mask_key", "commitment", "devices"])
def test_an_advert_changed_by_the_server_is_refused(rehearsal: Rehearsal, key: str) -> None:
    value = 99 if key == "devices" else public_key(new_private_key())
    victim = rehearsal.names[3]

    def swap(adverts: list[Advert]) -> list[Advert]:
        return [replace(a, **{key: value}) if a.name == victim else a for a in adverts]

    assert_refused(
        rehearsal, "share", with_lie(rehearsal.until("share"), swap), "advert not signed for this task"
    )


def test_a_nodes_own_advert_must_be_listed_unchanged(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("share")
    own = rehearsal.names[0]
    without = with_lie(messages, lambda adverts: [a for a in adverts if a.name != own])
    assert_refused(rehearsal, "share", without, "own advert missing or changed")
    # Not even an older advert that the node itself signed for the same task is accepted.
    _, older = rehearsal.nodes[1].advertise(rehearsal.task, devices=2)
    swapped = with_lie(messages, lambda adverts: [older if a.name == older.name else a for a in adverts])
    assert_refused(rehearsal, "share", swapped, "own advert missing or changed", number=1)


def test_an_identity_that_the_roster_lacks_is_refused(rehearsal: Rehearsal) -> None:
    sybil = Identity.new()
    stranger = Participant(sybil, Roster({sybil.name: 1000}), rehearsal.floors)
    _, advert = stranger.advertise(rehearsal.task, devices=1000)
    message = with_lie(rehearsal.until("share"), lambda adverts: [*adverts, advert])
    assert_refused(rehearsal, "share", message, "identity not in the roster")


@pytest.mark.parametrize(
    "change",
    [{"session": b"s" * 16}, {"round": 4}, {"query": b"other"}, {"width": 32}, {"length": 17}],
    ids=lambda change: next(iter(change)),
)
def test_an_advert_of_another_task_is_refused(rehearsal: Rehearsal, change: dict[str, Any]) -> None:
    messages = rehearsal.until("share")
    _, stale = rehearsal.nodes[3].advertise(replace(rehearsal.task, **change), devices=4)
    message = with_lie(messages, lambda adverts: [stale if a.name == stale.name else a for a in adverts])
    assert_refused(rehearsal, "share", message, "advert not signed for this task")


def test_more_devices_than_the_roster_allows_are_refused(rehearsal: Rehearsal) -> None:
    """Otherwise one colluding node could claim as many devices as least_devices asks for, without noise."""
    messages = rehearsal.until("share")
    _, inflated = rehearsal.nodes[3].advertise(rehearsal.task, devices=5)  # the roster says 4
    message = with_lie(
        messages, lambda adverts: [inflated if a.name == inflated.name else a for a in adverts]
    )
    assert_refused(rehearsal, "share", message, "more devices than the roster allows")


def test_a_duplicate_advert_is_refused(rehearsal: Rehearsal) -> None:
    message = with_lie(rehearsal.until("share"), lambda adverts: [*adverts, adverts[3]])
    assert_refused(rehearsal, "share", message, "duplicate name")


@pytest.mark.parametrize("key", ["share_key", "mask_key"])
def test_a_key_of_small_order_is_refused(rehearsal: Rehearsal, key: str) -> None:
    messages = rehearsal.until("share")
    advert = next(a for a in messages[0].adverts() if a.name == rehearsal.names[3])
    weak = replace(advert, **{key: bytes(KEY_BYTES)})
    weak = replace(weak, signature=rehearsal.identities[3].sign(weak.statement(rehearsal.task)))
    message = with_lie(messages, lambda adverts: [weak if a.name == weak.name else a for a in adverts])
    assert_refused(rehearsal, "share", message, "unusable public key")


def test_lists_of_different_lengths_are_refused(rehearsal: Rehearsal) -> None:
    message = rehearsal.until("share")[0]
    assert_refused(rehearsal, "share", replace(message, devices=message.devices[1:]), "different lengths")


def test_a_node_enforces_its_own_floors(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("share")  # 1 + 2 + 3 + 4 devices, and 5 and 6 of nodes that may collude
    rehearsal.nodes[0].floors = Floors(least_devices=11)
    assert_refused(rehearsal, "share", messages[0], "too few devices")
    rehearsal.nodes[1].floors = Floors(least_devices=10, least_nodes=7)
    assert_refused(rehearsal, "share", messages[1], "too few nodes", number=1)
    rehearsal.nodes[2].floors = Floors(least_devices=10, least_nodes=6)
    rehearsal.ask("share", 2, messages[2])


# --- stage 3: the shares ----------------------------------------------------------------------------------


def test_a_ciphertext_for_another_node_is_refused(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("mask")
    first, second = messages[0], messages[1]
    senders = [name for name in sorted(rehearsal.names) if name != rehearsal.names[0]]
    others = [name for name in sorted(rehearsal.names) if name != rehearsal.names[1]]
    place, other = senders.index(rehearsal.names[3]), others.index(rehearsal.names[3])
    relayed = list(first.ciphertexts)
    relayed[place] = second.ciphertexts[other]  # from the right sender, but meant for node 1
    assert_refused(rehearsal, "mask", RelayedShares(first.shared, relayed), "not meant for this node")
    swapped = [second.ciphertexts[1], second.ciphertexts[0], *second.ciphertexts[2:]]  # the wrong senders
    assert_refused(
        rehearsal, "mask", RelayedShares(second.shared, swapped), "not meant for this node", number=1
    )


def test_a_ciphertext_encrypted_under_another_view_is_refused(rehearsal: Rehearsal) -> None:
    """If a server shows two nodes different adverts, they cannot read each other's shares."""
    messages = rehearsal.until("share")
    split = with_lie(messages, lambda adverts: [a for a in adverts if a.name != rehearsal.names[5]])
    answers = {0: rehearsal.ask("share", 0, split), **rehearsal.answers("share", messages, gone={0})}
    answers[0]["ciphertexts"].insert(0, answers[0]["ciphertexts"][0])  # as many as the server expects
    message = rehearsal.server.shares(answers)[1]
    assert_refused(rehearsal, "mask", message, "not meant for this node", number=1)


def test_a_wrong_list_of_nodes_that_shared_is_refused(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("mask")
    shared, ciphertexts = messages[0].shared, messages[0].ciphertexts
    own = rehearsal.names[0]
    for number, (names, reason) in enumerate(
        [
            (shared[:4], "too few nodes"),  # five must agree
            ([*shared, "f" * 64], "unknown name"),
            ([shared[0], *shared], "out of order or duplicate"),
            (shared[::-1], "out of order or duplicate"),
        ]
    ):
        assert_refused(rehearsal, "mask", RelayedShares(names, ciphertexts), reason, number)
    rehearsal = Rehearsal(NODES)
    rehearsal.until("mask")
    without = [name for name in shared if name != own]
    assert_refused(rehearsal, "mask", RelayedShares(without, ciphertexts), "own shares missing")
    short = rehearsal.names[1] if rehearsal.names[1] != shared[0] else rehearsal.names[2]
    assert_refused(
        rehearsal,
        "mask",
        RelayedShares(shared, ciphertexts[1:]),
        "for each neighbour",
        rehearsal.number(short),
    )


def test_no_vector_is_trained_for_too_few_devices() -> None:
    rehearsal = Rehearsal(NODES)
    messages = rehearsal.until("mask", gone={"share": {5}})  # 1 + 2 + 3, and 4 and 5 that may collude
    rehearsal.nodes[0].floors = Floors(least_devices=7)
    assert_refused(rehearsal, "mask", messages[0], "too few devices")
    rehearsal.nodes[1].floors = Floors(least_devices=6)
    rehearsal.ask("mask", 1, messages[1])


def test_the_session_advances_before_training_starts(rehearsal: Rehearsal) -> None:
    """A node that has saved this stage and then crashes can never send two masked vectors."""
    messages = rehearsal.until("mask")
    session, seen = rehearsal.session(0), []

    def crash() -> Any:
        seen.append(Session.from_dict(session.to_dict()))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        rehearsal.nodes[0].mask(session, messages[0], crash)
    assert (seen[0].stage, seen[0].shared, len(seen[0].held)) == (Stage.MASKED, messages[0].shared, NODES)
    assert session.stage == Stage.CLOSED


@pytest.mark.parametrize("vector", [np.zeros(16), np.zeros(16, np.int64), np.zeros(15, np.uint64)])
def test_a_vector_of_another_type_or_length_is_an_error(rehearsal: Rehearsal, vector: Any) -> None:
    message = rehearsal.until("mask")[0]
    with pytest.raises(ValueError, match=r"must be uint64 \[16\]"):
        rehearsal.nodes[0].mask(rehearsal.session(0), message, lambda: vector)


# --- stage 4: who sent a masked vector --------------------------------------------------------------------


def test_a_wrong_list_of_nodes_that_masked_is_refused(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("confirm")
    names, signatures = messages[0].masked, messages[0].signatures
    own = names.index(rehearsal.names[0])
    for number, (listed, signed, reason) in enumerate(
        [
            (names[:own] + names[own + 1 :], signatures[:own] + signatures[own + 1 :], "own masked vector"),
            (names[:4], signatures[:4], "too few nodes"),
            ([*names, "f" * 64], [*signatures, b""], "unknown name"),
            ([*names, names[-1]], [*signatures, signatures[-1]], "out of order or duplicate"),
            (names, signatures[1:], "one signature for each name"),
            (names, signatures[::-1], "not those shown to this node"),
        ]
    ):
        assert_refused(rehearsal, "confirm", MaskedList(listed, signed), reason, number)


def test_a_node_that_did_not_share_cannot_be_listed_as_masked() -> None:
    rehearsal = Rehearsal(NODES)
    messages = rehearsal.until("confirm", gone={"share": {5}})
    listed = sorted([*messages[0].masked, rehearsal.names[5]])
    signatures = [messages[0].signatures[0]] * NODES
    assert_refused(rehearsal, "confirm", MaskedList(listed, signatures), "unknown name")


def test_a_node_that_was_shown_fewer_neighbours_is_detected(rehearsal: Rehearsal) -> None:
    """Otherwise it would mask with few neighbours, and all others would help to remove its own mask."""
    messages = rehearsal.until("mask")
    full = messages[0]
    hidden = rehearsal.names[5]
    neighbours = [name for name in full.shared if name != rehearsal.names[0]]
    kept = [c for name, c in zip(neighbours, full.ciphertexts, strict=True) if name != hidden]
    short = RelayedShares([name for name in full.shared if name != hidden], kept)
    answers = {0: rehearsal.ask("mask", 0, short), **rehearsal.answers("mask", messages, gone={0})}
    # An honest server would drop node 0. This one lists it.
    by_name = {rehearsal.names[n]: record["signature"] for n, (record, _) in answers.items()}
    lie = MaskedList(sorted(by_name), [by_name[name] for name in sorted(by_name)])
    for number in range(1, NODES):
        assert_refused(rehearsal, "confirm", lie, "not those shown to this node", number)
    view = View(rehearsal.task, rehearsal.session(0).adverts, rehearsal.floors.agreement)
    assert view.signed(
        rehearsal.names[0], by_name[rehearsal.names[0]], masked_statement(view.digest, short.shared)
    )


def test_the_sum_must_hold_enough_noise_if_the_nodes_with_most_of_it_collude() -> None:
    """Two of five nodes may tell the server their noise shares: at worst those of 4 and 5 devices."""
    rehearsal = Rehearsal(NODES)
    messages = rehearsal.until("confirm", gone={"mask": {5}})
    rehearsal.nodes[0].floors = Floors(least_devices=7)
    assert_refused(rehearsal, "confirm", messages[0], "too few devices")
    rehearsal.nodes[1].floors = Floors(least_devices=6)
    rehearsal.ask("confirm", 1, messages[1])


def test_on_the_sparse_graph_a_ring_with_gaps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that drops the nodes between two parts of the ring would get the sum of each part."""
    monkeypatch.setattr(thresholds, "COMPLETE_UP_TO", 8)
    monkeypatch.setattr(thresholds, "sparse", lambda nodes, colluding, dropped: (3, 2))
    rehearsal = Rehearsal(16)
    messages = rehearsal.until("confirm")
    ring = rehearsal.server.view.ring

    def without(*gone: str) -> MaskedList:
        listed = zip(messages[0].masked, messages[0].signatures, strict=True)
        names, signatures = zip(*((name, s) for name, s in listed if name not in gone), strict=True)
        return MaskedList(list(names), list(signatures))

    first, second = rehearsal.number(ring[0]), rehearsal.number(ring[1])
    assert_refused(rehearsal, "confirm", without(ring[7], ring[8]), "too many neighbours dropped", first)
    rehearsal.ask("confirm", second, without(ring[7], ring[10]))


# --- stage 5: shares of secrets ---------------------------------------------------------------------------


def two_lists(rehearsal: Rehearsal) -> tuple[dict[int, dict[str, Any]], list[str], list[str]]:
    """Return confirmations where nodes 0 to 2 saw that node 5 masked, and nodes 3 and 4 that it did not."""
    messages = rehearsal.until("confirm")
    names, signatures = messages[0].masked, messages[0].signatures
    place = names.index(rehearsal.names[5])
    fewer = MaskedList(names[:place] + names[place + 1 :], signatures[:place] + signatures[place + 1 :])
    answers = {n: rehearsal.ask("confirm", n, messages[n] if n < 3 else fewer) for n in range(5)}
    return answers, names, fewer.masked


def test_confirmations_of_two_different_lists_are_refused(rehearsal: Rehearsal) -> None:
    answers, _, _ = two_lists(rehearsal)
    names = sorted(rehearsal.names[:5])
    signatures = [answers[rehearsal.number(name)]["signature"] for name in names]
    for number in range(5):
        assert_refused(
            rehearsal, "unmask", Confirmations(names, signatures), "not those shown to this node", number
        )


def test_fewer_confirmations_than_must_agree_are_refused(rehearsal: Rehearsal) -> None:
    answers, _, _ = two_lists(rehearsal)
    names = sorted(rehearsal.names[:3])
    signatures = [answers[rehearsal.number(name)]["signature"] for name in names]
    assert_refused(rehearsal, "unmask", Confirmations(names, signatures), "too few nodes")
    thrice = Confirmations(sorted([*names, names[0], names[1]]), [signatures[0]] * 5)
    assert_refused(rehearsal, "unmask", thrice, "out of order or duplicate", number=1)


def test_a_confirmation_by_a_node_that_did_not_mask_is_refused() -> None:
    rehearsal = Rehearsal(NODES)
    messages = rehearsal.until("unmask", gone={"mask": {5}})
    names = sorted([*messages[0].confirmed, rehearsal.names[5]])
    assert_refused(rehearsal, "unmask", Confirmations(names, [*messages[0].signatures, b""]), "unknown name")


def test_only_one_of_the_two_secrets_of_each_node_is_revealed() -> None:
    rehearsal = Rehearsal(NODES)
    messages = rehearsal.until("unmask", gone={"mask": {5}})
    before = {number: rehearsal.session(number) for number in messages}
    answers = rehearsal.answers("unmask", messages)
    owners = sorted(rehearsal.names)
    for place, owner in enumerate(owners):
        holders = sorted(before)
        numbers = [owners.index(rehearsal.names[holder]) for holder in holders]
        given = [answers[holder]["shares"][place] for holder in holders]
        keys = [before[holder].held[owner][:KEY_BYTES] for holder in holders]
        seeds = [before[holder].held[owner][KEY_BYTES:] for holder in holders]
        assert given == (keys if owner == rehearsal.names[5] else seeds)
        opened = combine(list(zip(numbers, given, strict=True))[:3])
        owner_session = before.get(rehearsal.number(owner)) or rehearsal.session(5)
        assert opened == (owner_session.mask_private if owner == rehearsal.names[5] else owner_session.seed)
    # The session is closed, and its secrets are deleted.
    for number, message in messages.items():
        assert_refused(rehearsal, "unmask", message, "unmask|closed", number)


# --- order ------------------------------------------------------------------------------------------------


def test_a_stage_is_answered_once_and_in_order() -> None:
    rehearsal = Rehearsal(NODES)
    kept: dict[str, Any] = {}
    order = ("share", "mask", "confirm", "unmask")
    messages: Any = rehearsal.until("share")
    for stage, collect in zip(order, ("shares", "masked", "confirmations", "unmaskings"), strict=True):
        kept[stage] = messages[0]
        answers = rehearsal.answers(stage, messages)
        before = rehearsal.sessions[0]
        for repeated in kept:
            with pytest.raises(ProtocolError, match="requested after"):
                rehearsal.ask(repeated, 0, kept[repeated])
        assert rehearsal.sessions[0] == before  # a repeated message does not change the session either
        messages = getattr(rehearsal.server, collect)(answers)
    assert rehearsal.trained.count(0) == 1


@pytest.mark.parametrize(("reached", "asked"), [("share", "mask"), ("share", "confirm"), ("mask", "unmask")])
def test_a_stage_cannot_be_skipped(rehearsal: Rehearsal, reached: str, asked: str) -> None:
    other = Rehearsal(NODES)
    message = other.until(asked)[0]
    rehearsal.until(reached)
    with pytest.raises(ProtocolError, match="requested after"):
        rehearsal.ask(asked, 0, message)


def test_a_session_refuses_messages_of_another_session(rehearsal: Rehearsal) -> None:
    first = rehearsal.until("mask")
    second = Rehearsal(NODES)
    second.until("mask")
    assert_refused(second, "mask", first[0], "not meant for this node")


# --- what is kept, and what is shown ----------------------------------------------------------------------


def test_a_session_does_not_print_its_secrets(rehearsal: Rehearsal) -> None:
    rehearsal.until("unmask")
    session = rehearsal.session(0)
    for secret in (session.seed, session.mask_private, session.share_private, *session.held.values()):
        assert len(secret) in (32, 64)
        assert repr(secret) not in repr(session)
        assert secret.hex() not in repr(session)


def test_a_node_must_be_in_its_own_roster() -> None:
    with pytest.raises(ValueError, match="own identity"):
        Participant(Identity.new(), Roster({Identity.new().name: 1}), Floors(least_devices=2))


def test_a_masked_vector_looks_uniformly_random() -> None:
    """χ² of the bytes that leave a node with a zero vector: 255 degrees of freedom, alarm below 10⁻⁷."""
    rehearsal = Rehearsal(NODES, length=1 << 14)
    rehearsal.vectors[:] = 0
    answers = rehearsal.answers("mask", rehearsal.until("mask"))
    for _, vector in answers.values():
        counts = np.bincount(vector.view(np.uint8), minlength=256)
        expected = vector.nbytes / 256
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert chi2.ppf(1e-8, 255) < statistic < chi2.isf(1e-8, 255)
    # The nodes' own masks are still in it.
    assert not np.any(sum(vector for _, vector in answers.values()) == 0)


def test_a_masked_vector_has_each_neighbours_mask_and_its_own(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("mask")
    session = rehearsal.session(0)
    view = View(session.task, session.adverts, rehearsal.floors.agreement)
    masks = {0: expand(own_mask_key(session.seed, view.digest), 64, 16)}
    for other in range(1, NODES):
        name, neighbour = rehearsal.names[0], rehearsal.names[other]
        key = pairwise_mask_key(
            rehearsal.session(other).mask_private, session.advert.mask_key, view.digest, (neighbour, name)
        )
        masks[other] = expand(key, 64, 16) if name < neighbour else -expand(key, 64, 16)
    assert len({tuple(mask) for mask in masks.values()}) == NODES
    _, vector = rehearsal.ask("mask", 0, messages[0])
    np.testing.assert_array_equal(vector, rehearsal.vectors[0] + sum(masks.values()))


def test_a_new_session_has_new_keys(rehearsal: Rehearsal) -> None:
    first, second = (rehearsal.nodes[0].advertise(new_task(), devices=1)[0] for _ in range(2))
    for name in ("seed", "mask_private", "share_private"):
        assert getattr(first, name) != getattr(second, name)
