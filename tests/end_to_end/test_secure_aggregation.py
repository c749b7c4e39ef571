"""Whole rounds of secure aggregation, with both sides and every node in one process, without a network."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrycloth.models.secure_aggregation import thresholds
from terrycloth.models.secure_aggregation.messages import RoundFailed
from terrycloth.models.secure_aggregation.thresholds import Floors
from tests.secure_round import STAGES, Rehearsal

MAJORITY = Floors(least_devices=2, agreement=0.5)


def check(rehearsal: Rehearsal, gone: dict[str, set[int]]) -> None:
    """Check that the sum is exact, over all nodes except those that dropped out before they masked."""
    total = rehearsal.play(gone)
    left = set(range(len(rehearsal.nodes))).difference(*(gone.get(stage, ()) for stage in STAGES[:3]))
    assert total.names == sorted(rehearsal.names[number] for number in left)
    assert total.devices == sum(number + 1 for number in left)
    np.testing.assert_array_equal(total.vector, rehearsal.plain(left), strict=True)


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("nodes", [3, 4, 20])
def test_the_sum_is_exact(nodes: int, width: int) -> None:
    check(Rehearsal(nodes, width=width), {})


@pytest.mark.parametrize("stage", STAGES)
def test_a_fifth_may_drop_out_at_any_stage(stage: str) -> None:
    check(Rehearsal(15), {stage: {0, 7, 14}})


def test_nodes_may_drop_out_at_several_stages() -> None:
    gone = {"advertise": {1}, "share": {2}, "mask": {3, 4}, "confirm": {5}, "unmask": {6}}
    check(Rehearsal(16, floors=MAJORITY), gone)


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_released_if_too_few_nodes_are_left(stage: str) -> None:
    rehearsal = Rehearsal(9, floors=Floors(least_devices=2, least_nodes=5))
    with pytest.raises(RoundFailed, match="too few"):
        rehearsal.play({stage: set(range(7))})
    assert rehearsal.server._total is None
    with pytest.raises(RoundFailed, match="out of order"):
        rehearsal.server.unmaskings({})


@settings(max_examples=40)
@given(st.integers(3, 7), st.lists(st.sets(st.integers(0, 6), max_size=3), min_size=5, max_size=5))
def test_the_sum_is_exact_or_absent_whoever_drops_out(nodes: int, gone: list[set[int]]) -> None:
    rehearsal = Rehearsal(nodes, length=3, floors=MAJORITY)
    try:
        check(rehearsal, dict(zip(STAGES, gone, strict=True)))
    except RoundFailed:
        assert rehearsal.server._total is None


def test_a_fifth_may_drop_out_at_every_stage_but_not_more_than_half_in_all() -> None:
    # A smaller version of the slow test below: 20 → 16 adverts → 13 → 11 → 9 → 7; nine must agree, with six
    # shares.
    gone = {
        "advertise": set(range(4)),
        "share": {4, 5, 6},
        "mask": {7, 8},
        "confirm": {9, 10},
        "unmask": {11, 12},
    }
    check(Rehearsal(20, floors=MAJORITY), gone)
    with pytest.raises(RoundFailed, match="too few nodes"):
        Rehearsal(20, floors=MAJORITY).play(gone | {"mask": {7, 8, 13, 14, 15}})
    with pytest.raises(RoundFailed, match="too few shares"):
        Rehearsal(20, floors=MAJORITY).play(gone | {"unmask": {11, 12, 13, 14}})


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 9 nodes on: three neighbours on either side, three shares, two of any three in a row in U3."""
    monkeypatch.setattr(thresholds, "COMPLETE_UP_TO", 8)
    monkeypatch.setattr(thresholds, "sparse", lambda nodes, colluding, dropped: (3, 2))


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("stage", STAGES)
def test_the_sparse_graph_gives_the_same_sum(stage: str) -> None:
    check(Rehearsal(16), {stage: {5}})


@pytest.mark.usefixtures("sparse")
def test_on_the_sparse_graph_nodes_have_few_neighbours_and_gaps_fail_the_round() -> None:
    rehearsal = Rehearsal(16)
    messages = rehearsal.until("mask")
    assert all(len(message.ciphertexts) == 6 for message in messages.values())
    ring = [rehearsal.number(name) for name in rehearsal.server.view.ring]
    with pytest.raises(RoundFailed, match="too many neighbours dropped"):
        rehearsal.server.masked(rehearsal.answers("mask", messages, gone=ring[4:6]))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mask", "unmask"])  # the stages whose drop-outs cost most to correct
def test_a_fifth_of_a_hundred_may_drop_out_at_one_stage(stage: str) -> None:
    check(Rehearsal(100), {stage: set(range(0, 100, 5))})


@pytest.mark.slow
def test_a_fifth_of_a_hundred_may_drop_out_at_every_stage() -> None:
    # 100 → 80 adverts → 64 → 51 → 41 → 33; a majority of 80 is 41, and 27 shares open a secret.
    last = [0, 20, 36, 49, 59, 67]
    gone = {stage: set(range(*span)) for stage, *span in zip(STAGES, last, last[1:], strict=False)}
    check(Rehearsal(100, floors=MAJORITY), gone)


@pytest.mark.slow
def test_the_sum_of_a_hundred_nodes_is_exact() -> None:
    check(Rehearsal(100, width=32, length=1000), {})


@pytest.mark.slow
def test_a_full_size_round_on_the_sparse_graph() -> None:
    # There are 42 of 133 neighbours on either side; a twentieth drops out at each of two stages.
    rehearsal = Rehearsal(133)
    check(rehearsal, {"mask": set(range(6)), "unmask": set(range(6, 12))})
    assert 0 < 2 * rehearsal.server.view.plan.half < 100
