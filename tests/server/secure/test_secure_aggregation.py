"""What a node may send the server: it is left out, counted by reason, and the others' sum comes out exact."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from terrycloth.models.secure_aggregation.messages import RoundFailed
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.server.secure.secure_aggregation import SecureRound
from tests.secure_round import COLLECTORS, STAGES, Rehearsal

NODES = 8  # of which 6 must agree, and 3 shares open a secret
STRANGER = 99


def spoiled(rehearsal: Rehearsal, stage: str, spoil: Callable[[dict[int, Any]], Any]) -> Any:
    """An honest round, but for what `spoil` does to the answers at one stage."""
    messages: Any = dict.fromkeys(range(len(rehearsal.nodes)))
    for now, collect in zip(STAGES, COLLECTORS, strict=True):
        answers = rehearsal.answers(now, messages)
        if now == stage:
            spoil(answers)
        messages = getattr(rehearsal.server, collect)(answers)
    return messages


def is_sum_without(rehearsal: Rehearsal, total: Any, *left_out: int) -> None:
    numbers = set(range(NODES)) - set(left_out)
    assert total.names == sorted(rehearsal.names[number] for number in numbers)
    np.testing.assert_array_equal(total.vector, rehearsal.plain(numbers), strict=True)


def is_at_fault(rehearsal: Rehearsal, reason: str) -> None:
    """Node 3, and nobody else, for an answer that it alone can have sent."""
    assert rehearsal.server.dropped == {reason: 1}
    assert rehearsal.server.at_fault == {3: reason}


@pytest.fixture
def rehearsal() -> Rehearsal:
    return Rehearsal(NODES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": b"forged"}, "advert not signed for this task"),
        ({"devices": 1000}, "advert not signed for this task"),
        ({"devices": -1}, "advert out of range"),
        ({"devices": 2**70}, "advert out of range"),
        ({"devices": True}, "malformed Advert"),
        ({"commitment": b""}, "advert out of range"),
        ({"share_key": bytes(32)}, "advert not signed for this task"),
        ({"identity": b"ssh-rsa AAAA"}, "identity not in the roster"),
        ({"extra": 1}, "malformed Advert"),
        ({"mask_key": "text"}, "malformed Advert"),
    ],
)
def test_a_bad_advert(rehearsal: Rehearsal, change: dict[str, Any], reason: str) -> None:
    total = spoiled(rehearsal, "advertise", lambda answers: answers[3].update(change))
    is_sum_without(rehearsal, total, 3)
    is_at_fault(rehearsal, reason)


def test_an_advert_of_more_devices_than_the_roster_allows(rehearsal: Rehearsal) -> None:
    def boast(answers: dict[int, Any]) -> None:
        _, advert = rehearsal.nodes[3].advertise(rehearsal.task, devices=5)  # the roster says 4
        answers[3] = advert.to_dict()

    is_sum_without(rehearsal, spoiled(rehearsal, "advertise", boast), 3)
    is_at_fault(rehearsal, "more devices than the roster allows")


def test_one_identity_at_two_nodes_is_neither(rehearsal: Rehearsal) -> None:
    total = spoiled(rehearsal, "advertise", lambda answers: answers.update({STRANGER: answers[3]}))
    is_sum_without(rehearsal, total, 3)
    assert rehearsal.server.dropped == {"duplicate name": 2}
    assert not rehearsal.server.at_fault, "either may have stolen the other's identity"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda record: record["ciphertexts"].pop(), "wrong number or size of shares"),
        (lambda record: record["ciphertexts"].append(bytes(92)), "wrong number or size of shares"),
        (lambda record: record["ciphertexts"].__setitem__(0, b"short"), "wrong number or size of shares"),
        (lambda record: record.update(ciphertexts="text"), "malformed Shares"),
        (lambda record: record.update(ciphertexts=[1, 2]), "malformed Shares"),
        (lambda record: record.clear(), "malformed Shares"),
    ],
)
def test_bad_ciphertexts(rehearsal: Rehearsal, spoil: Any, reason: str) -> None:
    total = spoiled(rehearsal, "share", lambda answers: spoil(answers[3]))
    is_sum_without(rehearsal, total, 3)
    is_at_fault(rehearsal, reason)


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.zeros(17, np.uint64), "wrong type or length of vector"),
        (np.zeros((4, 4), np.uint64), "wrong type or length of vector"),
        (np.zeros(16, np.float64), "wrong type or length of vector"),
        (np.zeros(16, np.uint32), "wrong type or length of vector"),
    ],
)
def test_a_bad_vector(rehearsal: Rehearsal, vector: Any, reason: str) -> None:
    def spoil(answers: dict[int, Any]) -> None:
        answers[3] = (answers[3][0], vector)

    is_sum_without(rehearsal, spoiled(rehearsal, "mask", spoil), 3)
    is_at_fault(rehearsal, reason)


def test_a_vector_masked_under_another_list(rehearsal: Rehearsal) -> None:
    def spoil(answers: dict[int, Any]) -> None:
        answers[3] = ({"signature": answers[4][0]["signature"]}, answers[3][1])

    is_sum_without(rehearsal, spoiled(rehearsal, "mask", spoil), 3)
    is_at_fault(rehearsal, "lists not signed")


def test_a_forged_confirmation_is_not_passed_on(rehearsal: Rehearsal) -> None:
    total = spoiled(rehearsal, "confirm", lambda answers: answers[3].update(signature=b"forged"))
    is_sum_without(rehearsal, total)  # its vector is in the sum already
    is_at_fault(rehearsal, "lists not signed")


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_node_that_is_not_part_of_the_round(rehearsal: Rehearsal, stage: str) -> None:
    total = spoiled(rehearsal, stage, lambda answers: answers.update({STRANGER: answers[3]}))
    is_sum_without(rehearsal, total)
    assert rehearsal.server.dropped == {"not part of the round": 1}
    assert not rehearsal.server.at_fault


def test_who_missed_a_stage_is_not_heard_at_the_next(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("mask", gone={"share": {3}})
    assert 3 not in messages
    answers = rehearsal.answers("mask", messages)
    assert 3 not in rehearsal.server.masked({**answers, 3: answers[4]})
    assert rehearsal.server.dropped == {"not part of the round": 1}


@pytest.mark.parametrize("size", [0, 31, 33])
def test_shares_of_a_wrong_size(rehearsal: Rehearsal, size: int) -> None:
    total = spoiled(rehearsal, "unmask", lambda a: a[3]["shares"].__setitem__(0, bytes(size)))
    is_sum_without(rehearsal, total)
    is_at_fault(rehearsal, "wrong number or size of shares")


@pytest.mark.parametrize("change", [lambda shares: shares.pop(), lambda shares: shares.append(bytes(32))])
def test_shares_of_a_wrong_number(rehearsal: Rehearsal, change: Any) -> None:
    total = spoiled(rehearsal, "unmask", lambda answers: change(answers[3]["shares"]))
    is_sum_without(rehearsal, total)
    is_at_fault(rehearsal, "wrong number or size of shares")


@pytest.mark.parametrize("liars", [{0}, {3}, {7}, {1, 6}])
def test_wrong_shares_are_found_out(rehearsal: Rehearsal, liars: set[int]) -> None:
    def spoil(answers: dict[int, Any]) -> None:
        for liar in liars:
            answers[liar]["shares"] = [os.urandom(32) for _ in answers[liar]["shares"]]

    is_sum_without(rehearsal, spoiled(rehearsal, "unmask", spoil))
    # Only those whose shares were tried are known to lie.
    assert rehearsal.server.dropped["wrong share"] <= len(liars)
    assert not rehearsal.server.at_fault, "they may have been dealt wrong shares"


def test_wrong_shares_of_a_dropped_nodes_key_are_found_out(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("unmask", gone={"mask": {5}})
    answers = rehearsal.answers("unmask", messages)
    place = sorted(rehearsal.names).index(rehearsal.names[5])
    first = min(messages, key=lambda number: rehearsal.names[number])
    answers[first]["shares"][place] = os.urandom(32)
    is_sum_without(rehearsal, rehearsal.server.unmaskings(answers), 5)
    assert rehearsal.server.dropped == {"wrong share": 1}


def test_too_many_liars_fail_the_round(rehearsal: Rehearsal) -> None:
    def spoil(answers: dict[int, Any]) -> None:
        for liar in range(6):
            answers[liar]["shares"] = [os.urandom(32) for _ in answers[liar]["shares"]]

    with pytest.raises(RoundFailed, match="inconsistent shares"):
        spoiled(rehearsal, "unmask", spoil)
    assert rehearsal.server._total is None


def test_steps_come_in_order(rehearsal: Rehearsal) -> None:
    with pytest.raises(RoundFailed, match="shares came out of order"):
        rehearsal.server.shares({})
    rehearsal.until("mask")
    with pytest.raises(RoundFailed, match="adverts came out of order"):
        rehearsal.server.adverts({})


def test_a_round_without_answers_fails(rehearsal: Rehearsal) -> None:
    with pytest.raises(RoundFailed, match="too few nodes"):
        rehearsal.server.adverts({})


@pytest.mark.parametrize("stage", STAGES[:3])
def test_the_server_stops_where_nodes_would_refuse(stage: str) -> None:
    """Before the next stage, and so before any mask comes off."""
    gone = {stage: {0, 4}}  # 2 + 3 + 4 + 6 devices are left, and 7 and 8 of nodes that may collude
    Rehearsal(NODES, floors=Floors(least_devices=15)).play(gone)
    rehearsal = Rehearsal(NODES, floors=Floors(least_devices=16))
    following = STAGES[STAGES.index(stage) + 1]
    with pytest.raises(RoundFailed, match="too few devices"):
        rehearsal.until(following, gone)


def test_who_does_not_confirm_takes_no_noise_away() -> None:
    """Its vector is in the sum: of the lists only signatures are missing."""
    rehearsal = Rehearsal(NODES, floors=Floors(least_devices=21))  # 1 + 2 + … + 6
    is_sum_without(rehearsal, rehearsal.play({"confirm": {0}, "unmask": {1}}))


def test_without_a_roster_the_server_believes_any_identity(rehearsal: Rehearsal) -> None:
    rehearsal.server = SecureRound(rehearsal.task, rehearsal.floors)
    is_sum_without(rehearsal, rehearsal.play())


def test_without_a_roster_a_node_has_no_more_devices_than_any_may(rehearsal: Rehearsal) -> None:
    """Node k says k + 1."""
    rehearsal.server = SecureRound(rehearsal.task, rehearsal.floors, most_devices=NODES - 1)
    is_sum_without(rehearsal, rehearsal.play(), NODES - 1)
    assert rehearsal.server.dropped == {"advert out of range": 1}


def test_what_a_roster_says_of_a_node_goes_before_what_any_may_have(rehearsal: Rehearsal) -> None:
    rehearsal.server = SecureRound(rehearsal.task, rehearsal.floors, rehearsal.roster, most_devices=1)
    is_sum_without(rehearsal, rehearsal.play())
