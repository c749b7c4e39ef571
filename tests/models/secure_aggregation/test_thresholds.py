"""Thresholds of secure aggregation are checked against exact counting."""

from fractions import Fraction
from itertools import combinations
from math import comb, floor

import pytest

from terrycloth.models.secure_aggregation import thresholds
from terrycloth.models.secure_aggregation.thresholds import (
    COMPLETE_UP_TO,
    Floors,
    SharingPlan,
    honest,
    least_listed,
    plan_for,
    sparse,
    tolerated_of,
)


@pytest.mark.parametrize(
    ("nodes", "fraction", "agreement", "shares", "tolerated"),
    [(3, 2 / 3, 3, 2, 1), (100, 2 / 3, 67, 34, 33), (80, 0.5, 41, 27, 1), (100, 0.8, 81, 34, 33)],
)
def test_the_plan_on_the_complete_graph_by_hand(
    nodes: int, fraction: float, agreement: int, shares: int, tolerated: int
) -> None:
    plan = plan_for(nodes, fraction)
    assert plan == SharingPlan(nodes, agreement, shares)
    assert plan.tolerated == tolerated


@pytest.mark.parametrize("fraction", [0.5, 0.6, 2 / 3, 0.75, 0.99])
def test_tolerated_colluding_nodes_cannot_get_two_lists_signed_or_open_a_secret(fraction: float) -> None:
    for nodes in [*range(3, 129), 129, 200, 999]:
        plan = plan_for(nodes, fraction)
        colluding = plan.tolerated
        assert colluding >= 0
        assert plan.half or colluding < plan.shares  # on the sparse graph the colluding nodes are spread out
        # Honest nodes sign once, colluding nodes as often as they like.
        honest_signatures_needed = 2 * (plan.agreement - colluding)
        assert honest_signatures_needed > nodes - colluding
        assert plan.agreement <= nodes


@pytest.mark.parametrize(("tolerated", "left"), [(0, 20), (1, 11), (2, 4), (4, 0), (9, 0)])
def test_honest_devices_are_counted_for_the_worst_coalition(tolerated: int, left: int) -> None:
    devices = [1, 9, 3, 7]
    assert honest(devices, tolerated) == left
    coalitions = combinations(devices, min(tolerated, 4))
    assert left == min(sum(devices) - sum(coalition) for coalition in coalitions)


def test_a_session_begins_with_three_nodes_and_more_than_half_of_the_roster() -> None:
    assert [least_listed(roster) for roster in (3, 4, 5, 6, 7, 100)] == [3, 3, 3, 4, 4, 51]


@pytest.mark.parametrize("fraction", [0.5, 0.6, 0.66, 2 / 3, 0.75, 0.99])
def test_tolerated_of_gives_the_least_and_the_most_over_all_numbers_of_nodes(fraction: float) -> None:
    for nodes in (3, 4, 9, 40, 128, 129, 150):
        for fewest in {3, nodes // 2 + 1, nodes - 1, nodes} - {2}:
            each = [plan_for(n, fraction).tolerated for n in range(fewest, nodes + 1)]
            assert tolerated_of(fewest, nodes, fraction) == (min(each), max(each))


def tails(nodes: int, colluding: float, dropped: float, half: int, least: int) -> tuple[Fraction, Fraction]:
    """Return the chances, over n rows, that `least` or more of a row collude, and that fewer stay."""

    def chance(marked: int, counts: range) -> Fraction:
        ways = sum(comb(marked, k) * comb(nodes - marked, half - k) for k in counts)
        return nodes * Fraction(ways, comb(nodes, half))

    collude, stay = floor(colluding * nodes), nodes - floor(dropped * nodes)
    return chance(collude, range(least, half + 1)), chance(stay, range(least))


@pytest.mark.parametrize(
    ("nodes", "colluding", "dropped"),
    [(129, 0.1, 1 / 3), (200, 0.1, 0.2), (500, 0.05, 0.2), (1000, 0.1, 1 / 3)],
)
def test_the_sparse_graph_is_the_smallest_that_meets_the_bounds(
    nodes: int, colluding: float, dropped: float
) -> None:
    security, correctness = Fraction(1, 2**128), Fraction(1, 2**20)

    def holds(half: int, least: int) -> bool:
        too_many, too_few = tails(nodes, colluding, dropped, half, least)
        return too_many <= security and too_few <= correctness

    half, least = sparse(nodes, colluding, dropped)
    assert holds(half, least)
    assert not holds(half, least - 1)
    for shorter in range(max(1, half - 3), half):
        assert not any(holds(shorter, m) for m in range(shorter + 1))


def test_tail_probabilities_bound_those_of_all_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen nodes, of which two collude and two drop out, in every possible order on the ring."""
    monkeypatch.setattr(thresholds, "SECURITY_BITS", 0)
    monkeypatch.setattr(thresholds, "CORRECTNESS_BITS", 0)
    assert sparse.__wrapped__(16, 0.15, 0.15) == (3, 2)

    def chances(half: int, least: int) -> tuple[Fraction, Fraction]:
        row, placings = set(range(half)), [set(placed) for placed in combinations(range(16), 2)]
        many, few = ([len(row & p) >= least for p in placings], [len(row - p) < least for p in placings])
        return 16 * Fraction(sum(many), len(placings)), 16 * Fraction(sum(few), len(placings))

    for half in range(1, 4):
        for least in range(half + 1):
            assert chances(half, least) == tails(16, 0.15, 0.15, half, least)
            assert (max(chances(half, least)) <= 1) == ((half, least) == (3, 2))


def test_there_is_no_sparse_graph_if_too_many_nodes_collude() -> None:
    assert sparse(200, 0.5, 0.5) == (200, 0)


@pytest.mark.parametrize("nodes", [129, 200, 1000, 5000])
def test_the_plan_of_more_nodes_than_the_complete_graph_takes(nodes: int) -> None:
    plan = plan_for(nodes, 2 / 3)
    assert nodes > COMPLETE_UP_TO
    assert 0 < 2 * plan.half < nodes - 1
    assert plan.shares == 2 * plan.in_a_row - 1
    assert plan.tolerated == floor(0.1 * nodes)


@pytest.mark.parametrize(
    "floors",
    [
        {"least_devices": 1},
        {"least_devices": 2, "least_nodes": 2},
        {"least_devices": 2, "agreement": 0.49},
        {"least_devices": 2, "agreement": 1.0},
        {"least_devices": 2, "agreement": float("nan")},
    ],
)
def test_floors_out_of_range_are_refused(floors: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        Floors(**floors)
