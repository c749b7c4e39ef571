"""A node that sends the server anything wrong is left out and counted, and the others' sum is exact."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from terrycloth.models.secure_aggregation.messages import RoundFailed
from terrycloth.models.secure_aggregation.thresholds import Floors
from terrycloth.server.secure.secure_aggregation import SecureRound
from tests.secure_round import COLLECTORS, STAGES, Rehearsal

NODES = 8  # six must agree, and three shares open a secret
STRANGER = 99


def run_with(rehearsal: Rehearsal, stage: str, change_answers: Callable[[dict[int, Any]], Any]) -> Any:
    """Run an honest round in which `change_answers` changes the answers at one stage."""
    messages: Any = dict.fromkeys(range(len(rehearsal.nodes)))
    for now, collect in zip(STAGES, COLLECTORS, strict=True):
        answers = rehearsal.answers(now, messages)
        if now == stage:
            change_answers(answers)
        messages = getattr(rehearsal.server, collect)(answers)
    return messages


def assert_sum_without(rehearsal: Rehearsal, total: Any, *left_out: int) -> None:
    numbers = set(range(NODES)) - set(left_out)
    assert total.names == sorted(rehearsal.names[number] for number in numbers)
    np.testing.assert_array_equal(total.vector, rehearsal.plain(numbers), strict=True)


def assert_only_node_3_at_fault(rehearsal: Rehearsal, reason: str) -> None:
    """Check that node 3 alone is at fault, for an answer that no other node can have sent."""
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
def test_a_node_with_a_bad_advert_is_left_out(
    rehearsal: Rehearsal, change: dict[str, Any], reason: str
) -> None:
    total = run_with(rehearsal, "advertise", lambda answers: answers[3].update(change))
    assert_sum_without(rehearsal, total, 3)
    assert_only_node_3_at_fault(rehearsal, reason)


def test_a_node_that_claims_more_devices_than_the_roster_allows_is_left_out(rehearsal: Rehearsal) -> None:
    def claim_more(answers: dict[int, Any]) -> None:
        _, advert = rehearsal.nodes[3].advertise(rehearsal.task, devices=5)  # the roster says 4
        answers[3] = advert.to_dict()

    assert_sum_without(rehearsal, run_with(rehearsal, "advertise", claim_more), 3)
    assert_only_node_3_at_fault(rehearsal, "more devices than the roster allows")


def test_two_nodes_with_one_identity_are_both_left_out(rehearsal: Rehearsal) -> None:
    total = run_with(rehearsal, "advertise", lambda answers: answers.update({STRANGER: answers[3]}))
    assert_sum_without(rehearsal, total, 3)
    assert rehearsal.server.dropped == {"duplicate name": 2}
    assert not rehearsal.server.at_fault, "either node may have copied the other's identity"


@pytest.mark.parametrize(
    ("change_answers", "reason"),
    [
        (lambda record: record["ciphertexts"].pop(), "wrong number or size of shares"),
        (lambda record: record["ciphertexts"].append(bytes(92)), "wrong number or size of shares"),
        (lambda record: record["ciphertexts"].__setitem__(0, b"short"), "wrong number or size of shares"),
        (lambda record: record.update(ciphertexts="text"), "malformed Shares"),
        (lambda record: record.update(ciphertexts=[1, 2]), "malformed Shares"),
        (lambda record: record.clear(), "malformed Shares"),
    ],
)
def test_a_node_with_bad_ciphertexts_is_left_out(
    rehearsal: Rehearsal, change_answers: Any, reason: str
) -> None:
    total = run_with(rehearsal, "share", lambda answers: change_answers(answers[3]))
    assert_sum_without(rehearsal, total, 3)
    assert_only_node_3_at_fault(rehearsal, reason)


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.zeros(17, np.uint64), "wrong type or length of vector"),
        (np.zeros((4, 4), np.uint64), "wrong type or length of vector"),
        (np.zeros(16, np.float64), "wrong type or length of vector"),
        (np.zeros(16, np.uint32), "wrong type or length of vector"),
    ],
)
def test_a_node_with_a_bad_vector_is_left_out(rehearsal: Rehearsal, vector: Any, reason: str) -> None:
    def change_answers(answers: dict[int, Any]) -> None:
        answers[3] = (answers[3][0], vector)

    assert_sum_without(rehearsal, run_with(rehearsal, "mask", change_answers), 3)
    assert_only_node_3_at_fault(rehearsal, reason)


def test_a_vector_masked_under_another_list_is_left_out(rehearsal: Rehearsal) -> None:
    def change_answers(answers: dict[int, Any]) -> None:
        answers[3] = ({"signature": answers[4][0]["signature"]}, answers[3][1])

    assert_sum_without(rehearsal, run_with(rehearsal, "mask", change_answers), 3)
    assert_only_node_3_at_fault(rehearsal, "lists not signed")


def test_a_forged_confirmation_is_not_passed_on(rehearsal: Rehearsal) -> None:
    total = run_with(rehearsal, "confirm", lambda answers: answers[3].update(signature=b"forged"))
    assert_sum_without(rehearsal, total)  # its vector is already in the sum
    assert_only_node_3_at_fault(rehearsal, "lists not signed")


@pytest.mark.parametrize("stage", STAGES[1:])
def test_an_answer_of_a_node_outside_the_round_is_ignored(rehearsal: Rehearsal, stage: str) -> None:
    total = run_with(rehearsal, stage, lambda answers: answers.update({STRANGER: answers[3]}))
    assert_sum_without(rehearsal, total)
    assert rehearsal.server.dropped == {"not part of the round": 1}
    assert not rehearsal.server.at_fault


def test_a_node_that_missed_a_stage_is_ignored_at_the_next(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("mask", gone={"share": {3}})
    assert 3 not in messages
    answers = rehearsal.answers("mask", messages)
    assert 3 not in rehearsal.server.masked({**answers, 3: answers[4]})
    assert rehearsal.server.dropped == {"not part of the round": 1}


@pytest.mark.parametrize("size", [0, 31, 33])
def test_shares_of_a_wrong_size_are_ignored(rehearsal: Rehearsal, size: int) -> None:
    total = run_with(rehearsal, "unmask", lambda a: a[3]["shares"].__setitem__(0, bytes(size)))
    assert_sum_without(rehearsal, total)
    assert_only_node_3_at_fault(rehearsal, "wrong number or size of shares")


@pytest.mark.parametrize("change", [lambda shares: shares.pop(), lambda shares: shares.append(bytes(32))])
def test_a_wrong_number_of_shares_is_ignored(rehearsal: Rehearsal, change: Any) -> None:
    total = run_with(rehearsal, "unmask", lambda answers: change(answers[3]["shares"]))
    assert_sum_without(rehearsal, total)
    assert_only_node_3_at_fault(rehearsal, "wrong number or size of shares")


@pytest.mark.parametrize("wrong_nodes", [{0}, {3}, {7}, {1, 6}])
def test_wrong_shares_are_detected_and_the_sum_is_exact(rehearsal: Rehearsal, wrong_nodes: set[int]) -> None:
    def change_answers(answers: dict[int, Any]) -> None:
        for liar in wrong_nodes:
            answers[liar]["shares"] = [os.urandom(32) for _ in answers[liar]["shares"]]

    assert_sum_without(rehearsal, run_with(rehearsal, "unmask", change_answers))
    # Only nodes whose shares were tried are known to be wrong.
    assert rehearsal.server.dropped["wrong share"] <= len(wrong_nodes)
    assert not rehearsal.server.at_fault, "they may have been given wrong shares"


def test_wrong_shares_of_a_dropped_nodes_key_are_detected(rehearsal: Rehearsal) -> None:
    messages = rehearsal.until("unmask", gone={"mask": {5}})
    answers = rehearsal.answers("unmask", messages)
    place = sorted(rehearsal.names).index(rehearsal.names[5])
    first = min(messages, key=lambda number: rehearsal.names[number])
    answers[first]["shares"][place] = os.urandom(32)
    assert_sum_without(rehearsal, rehearsal.server.unmaskings(answers), 5)
    assert rehearsal.server.dropped == {"wrong share": 1}


def test_too_many_wrong_shares_fail_the_round(rehearsal: Rehearsal) -> None:
    def change_answers(answers: dict[int, Any]) -> None:
        for liar in range(6):
            answers[liar]["shares"] = [os.urandom(32) for _ in answers[liar]["shares"]]

    with pytest.raises(RoundFailed, match="inconsistent shares"):
        run_with(rehearsal, "unmask", change_answers)
    assert rehearsal.server._total is None


def test_stages_out_of_order_fail(rehearsal: Rehearsal) -> None:
    with pytest.raises(RoundFailed, match="shares came out of order"):
        rehearsal.server.shares({})
    rehearsal.until("mask")
    with pytest.raises(RoundFailed, match="adverts came out of order"):
        rehearsal.server.adverts({})


def test_a_round_without_answers_fails(rehearsal: Rehearsal) -> None:
    with pytest.raises(RoundFailed, match="too few nodes"):
        rehearsal.server.adverts({})


@pytest.mark.parametrize("stage", STAGES[:3])
def test_the_server_fails_a_round_that_nodes_would_refuse(stage: str) -> None:
    """It stops before the next stage, and so before any mask is removed."""
    gone = {stage: {0, 4}}  # 2 + 3 + 4 + 6 devices are left, without the 7 and 8 of nodes that may collude
    Rehearsal(NODES, floors=Floors(least_devices=15)).play(gone)
    rehearsal = Rehearsal(NODES, floors=Floors(least_devices=16))
    following = STAGES[STAGES.index(stage) + 1]
    with pytest.raises(RoundFailed, match="too few devices"):
        rehearsal.until(following, gone)


def test_a_node_that_does_not_confirm_leaves_its_noise_in_the_sum() -> None:
    """Its vector is in the sum; only its signature of the lists is missing."""
    rehearsal = Rehearsal(NODES, floors=Floors(least_devices=21))  # 1 + 2 + … + 6
    assert_sum_without(rehearsal, rehearsal.play({"confirm": {0}, "unmask": {1}}))


def test_without_a_roster_the_server_accepts_any_identity(rehearsal: Rehearsal) -> None:
    rehearsal.server = SecureRound(rehearsal.task, rehearsal.floors)
    assert_sum_without(rehearsal, rehearsal.play())


def test_without_a_roster_a_node_that_claims_too_many_devices_is_left_out(rehearsal: Rehearsal) -> None:
    """Node k claims k + 1 devices."""
    rehearsal.server = SecureRound(rehearsal.task, rehearsal.floors, most_devices=NODES - 1)
    assert_sum_without(rehearsal, rehearsal.play(), NODES - 1)
    assert rehearsal.server.dropped == {"advert out of range": 1}


def test_a_rosters_number_of_devices_takes_precedence_over_the_general_limit(rehearsal: Rehearsal) -> None:
    rehearsal.server = SecureRound(rehearsal.task, rehearsal.floors, rehearsal.roster, most_devices=1)
    assert_sum_without(rehearsal, rehearsal.play())
