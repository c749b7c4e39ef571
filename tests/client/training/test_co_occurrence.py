"""Each device's part of either sum has norm 1 at most, whatever it holds and whatever the server sends."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.client.events import Events
from terrycloth.client.training.co_occurrence import packed_co_occurrence, popularity_sum
from terrycloth.client.training.profiles import clipped_rows, profiles, recency_rows, unit_rows
from terrycloth.models.recommenders.head import head_items
from terrycloth.models.recommenders.linear_autoencoder import unpacked
from terrycloth.models.settings import ROUNDING

ITEMS = 8  # the number of items in the shop
BASKETS = [[1, 4, 4], [], [6], [0, 1, 2, 3], [4, 2, 4, 0, 7, 2]]
POPULARITY = torch.tensor([1.5, 1.0, 0.5, 0.5, 2.0, 0.0, 1.0, -0.5])

basket = st.lists(st.integers(0, ITEMS - 1), max_size=12)
anything = st.lists(
    st.floats(width=32, allow_nan=True, allow_infinity=True)
    | st.sampled_from([0.0, -1.0, 3e38, -3e38, 1e-45]),
    min_size=ITEMS,
    max_size=ITEMS,
)


def events_of(*baskets: list[int]) -> Events:
    items = np.array([item for basket in baskets for item in basket], dtype=np.int64)
    devices = np.repeat(np.arange(len(baskets)), [len(basket) for basket in baskets])
    return Events.from_columns(devices, items, np.arange(len(items)), np.ones(len(items)), len(baskets))


def head_of(popularity: torch.Tensor, size: int) -> np.ndarray:
    return head_items(popularity, size).numpy()


def co_occurrence(events: Events, head: np.ndarray, half_life: float) -> torch.Tensor:
    return packed_co_occurrence(events, head, ITEMS, half_life).float()


def plain_loop(baskets: list[list[int]], head: np.ndarray, half_life: float) -> torch.Tensor:
    """Compute the sum from its definition, device by device with full matrices. Every event is a visit."""
    total = torch.zeros(len(head), len(head), dtype=torch.float64)
    for held in baskets:
        kernel = torch.zeros(len(head), len(head), dtype=torch.float64)
        last = {item: len(held) - 1 - place for place, item in enumerate(held)}
        for i, one in enumerate(head.tolist()):
            for j, other in enumerate(head.tolist()):
                if one in last and other in last:
                    apart = abs(last[one] - last[other])
                    kernel[i, j] = 1.0 if half_life == 0 else 2.0 ** (-apart / half_life)
        total += kernel / max(float(kernel.norm()), 1e-300)
    return total


# By hand


def test_co_occurrence_of_one_device_by_hand(held):
    """Items 0 and 1 are one visit apart and h = 1, so K = [1 ½; ½ 1] and |K|² = 2.5."""
    gram = unpacked(co_occurrence(held([0, 1]), np.array([0, 1, 2]), 1.0), 3)
    one, half = 2.5**-0.5, 0.5 * 2.5**-0.5
    expected = [[one, half, 0.0], [half, one, 0.0], [0.0, 0.0, 0.0]]
    assert gram.tolist() == [pytest.approx(line, abs=1e-6) for line in expected]


def test_items_of_one_visit_have_distance_zero():
    """Items 0 and 1 are bought at one instant and item 2 at the next: K_01 is 1, K_02 and K_12 are ½."""
    events = Events.from_columns(np.zeros(3, int), np.array([1, 2, 0]), np.array([5, 9, 5]), np.ones(3), 1)
    gram = unpacked(co_occurrence(events, np.arange(3), 1.0), 3)
    assert (gram / gram[0, 0]).tolist() == [
        pytest.approx(line, abs=1e-6) for line in ([1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1])
    ]


def test_a_repeated_item_counts_once_at_its_last_visit(held):
    """Item 0 is bought first and last: it is one visit from item 2 and two from item 1, not two and one."""
    head = head_of(POPULARITY, ITEMS)
    again = co_occurrence(held([0, 1, 2, 0]), head, 1.0)
    assert torch.allclose(again, co_occurrence(held([1, 2, 0]), head, 1.0), atol=1e-6)
    assert not torch.allclose(again, co_occurrence(held([0, 1, 2]), head, 1.0), atol=1e-2)


def test_visits_outside_the_head_still_count_in_distances(held):
    head = np.array([0, 1, 2])
    near = co_occurrence(held([2, 0, 1]), head, 1.0)
    far = co_occurrence(held([2, 0, 5, 5, 5, 1]), head, 1.0)
    assert not torch.allclose(near, far, atol=1e-2)


def test_without_a_half_life_the_matrix_is_the_outer_product_of_the_unit_row(held):
    row = torch.zeros(ITEMS)
    row[[0, 1, 6]] = 3**-0.5
    gram = unpacked(co_occurrence(held([0, 6, 1, 0]), np.arange(ITEMS), 0.0), ITEMS)
    assert torch.allclose(gram, torch.outer(row, row), atol=1e-6)


def test_popularity_by_hand(held):
    found = popularity_sum(held([1, 4, 4], [], [4]), ITEMS)
    half = 2**-0.5
    assert found.tolist() == pytest.approx([0, half, 0, 0, 1 + half, 0, 0, 0], abs=1e-6)


def test_newer_purchases_count_more_in_popularity():
    """Item 4 is a day old, item 1 three days and item 4 again six days; with h = 1 day they count ½ and ⅛."""
    day = 86_400
    events = Events.from_columns(
        np.zeros(3, int), np.array([4, 4, 1]), np.array([4 * day, 9 * day, 7 * day]), np.ones(3), 1
    )
    recent = {"now": 10 * day, "half_life": 1.0}
    assert popularity_sum(events, ITEMS, norm=1.0, **recent).tolist() == pytest.approx(
        [0, 0.125, 0, 0, 0.5, 0, 0, 0]
    )
    norm = 0.265625**0.5
    clipped = popularity_sum(events, ITEMS, norm=0.25, **recent)
    assert clipped.tolist() == pytest.approx([0, 0.125 / norm, 0, 0, 0.5 / norm, 0, 0, 0])
    assert popularity_sum(events, ITEMS, norm=0.0, **recent).tolist() == pytest.approx(clipped.tolist())


def test_events_after_the_reference_time_count_as_new():
    events = Events.from_columns(np.zeros(2, int), np.array([1, 2]), np.array([5, 10**9]), np.ones(2), 1)
    assert recency_rows(events, ITEMS, 5, 1.0).toarray()[0].tolist() == [0, 1, 1, 0, 0, 0, 0, 0]


@given(
    basket,
    st.lists(st.integers(0, 10**9), min_size=12, max_size=12),
    st.sampled_from([0.0, 0.1, 1.0, 30.0]),
    st.sampled_from([0.0, 0.001, 1.0, 3.0]),
)
def test_no_row_of_popularity_exceeds_norm_one(held, times, half_life, norm):
    events = Events.from_columns(
        np.zeros(len(held), int),
        np.array(held, dtype=np.int64),
        np.array(times[: len(held)]),
        np.ones(len(held)),
        1,
    )
    rows = ROUNDING * clipped_rows(recency_rows(events, ITEMS, 5 * 10**8, half_life), norm).astype(np.float64)
    assert float(np.sqrt(rows.power(2).sum())) <= 1.0


def test_rows_of_serving_give_newer_visits_more_weight(held):
    """Item 4 is bought first and last and counts once, at its last visit; item 1 is a visit older."""
    rows = profiles(held([4, 1, 4], []), ITEMS, half_life=1.0).toarray()
    assert rows.tolist() == [[0, 0.5, 0, 0, 1, 0, 0, 0], [0] * ITEMS]
    assert profiles(held([4, 1, 4]), ITEMS).toarray()[0].tolist() == [0, 1, 0, 0, 1, 0, 0, 0]
    assert np.linalg.norm(unit_rows(profiles(held(*BASKETS), ITEMS)).toarray(), axis=1) == pytest.approx(
        [1, 0, 1, 1, 1], abs=1e-6
    )


# Comparison with the definition


@given(
    st.lists(basket, min_size=1, max_size=5), anything, st.integers(1, ITEMS), st.sampled_from([0, 0.5, 30])
)
def test_the_sum_equals_that_of_a_plain_loop(baskets, popularity, size, half_life):
    head = head_of(torch.tensor(popularity, dtype=torch.float32), size)
    gram = unpacked(co_occurrence(events_of(*baskets), head, half_life), size)
    assert torch.allclose(gram, plain_loop(baskets, head, half_life).float(), atol=1e-5)


@given(basket, anything, st.integers(1, ITEMS), st.sampled_from([0, 0.001, 0.5, 3, 30, 1e6]))
def test_no_device_exceeds_norm_one_for_any_events_and_popularity(held, popularity, size, half_life):
    head = head_of(torch.tensor(popularity, dtype=torch.float32), size)
    norm = float((ROUNDING * co_occurrence(events_of(held), head, half_life)).double().norm())
    assert norm <= 1.0
    assert norm == 0.0 or norm == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("half_life", [0.0, 0.5, 30.0, 1e6])
def test_a_device_with_thousands_of_events_does_not_exceed_norm_one(half_life):
    generator = np.random.default_rng(1)
    items, bought = 1500, 4000
    events = events_of(generator.integers(0, items, bought).tolist())
    head = generator.permutation(items)[:1200]
    update = ROUNDING * packed_co_occurrence(events, np.sort(head), items, half_life)
    assert 1.0 - 1e-4 < float(update.double().norm()) <= 1.0


def test_a_device_without_items_of_the_head_adds_nothing(held):
    assert not co_occurrence(held([], [1, 2, 7]), np.array([0, 4]), 3.0).any()
    assert not popularity_sum(held([], []), ITEMS).any()


# Sums


def test_the_sum_of_a_device_group_is_that_of_its_devices(held):
    events, head = held(*BASKETS), head_of(POPULARITY, 6)
    devices = [events.span(device, device + 1) for device in range(len(BASKETS))]
    apart = torch.stack([co_occurrence(device, head, 2.0) for device in devices]).sum(dim=0)
    assert torch.allclose(co_occurrence(events, head, 2.0), apart, atol=1e-6)
    apart = torch.stack([popularity_sum(device, ITEMS) for device in devices]).sum(dim=0)
    assert torch.allclose(popularity_sum(events, ITEMS), apart, atol=1e-6)


def test_a_device_with_all_items_needs_no_more_memory_than_the_matrix(held):
    """Pairs are added one by one: 2,000 items have 2 million pairs, and the matrix has as many numbers."""
    items = 2_000
    events = events_of(list(range(items)))
    packed_co_occurrence(events_of([0, 1]), np.arange(2), 2, 2.0)  # compiles the loop first
    tracemalloc.start()
    packed_co_occurrence(events, np.arange(items), items, 2.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * 8 * items * (items + 1) / 2
