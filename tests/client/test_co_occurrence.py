"""Each device's part of either sum has norm 1, whatever it holds and whatever the server says is popular."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import client.co_occurrence
from client.co_occurrence import (
    Head,
    device_blocks,
    packed_co_occurrence,
    pairs,
    popularity_sum,
    purchases,
    unit_rows,
)
from client.events import Events
from models.linear_autoencoder import unpacked
from models.settings import ROUNDING

ITEMS = 8  # of the shop
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


def plain_loop(baskets: list[list[int]], head: Head, half_life: float) -> torch.Tensor:
    """Straight from the definition: one device after the other, matrices spelt out."""
    size = len(head.items)
    total = torch.zeros(size, size, dtype=torch.float64)
    d = torch.from_numpy(head.direction)
    centre = torch.eye(size, dtype=torch.float64) - torch.outer(d, d)
    for held in baskets:
        kernel = torch.zeros(size, size, dtype=torch.float64)
        last = {item: len(held) - 1 - place for place, item in enumerate(held)}
        for i, one in enumerate(head.items.tolist()):
            for j, other in enumerate(head.items.tolist()):
                if one in last and other in last:
                    apart = abs(last[one] - last[other])
                    kernel[i, j] = 1.0 if half_life == 0 else 2.0 ** (-apart / half_life)
        part = centre @ kernel @ centre
        if float(part.norm()) ** 2 > client.co_occurrence.LEAST_BESIDE * float(kernel.norm()) ** 2:
            total += part / part.norm()
    return total


# By hand


def test_one_device_by_hand(held):
    """Items 0 and 1 next to each other, h = 1, three items alike in popularity: d = (1, 1, 1)/√3.

    K = [1 ½ 0; ½ 1 0; 0 0 0], Kd = (1.5, 1.5, 0)/√3, dᵀKd = 1; so PKP is 1/3 on the diagonal and −1/6 off it,
    and |PKP|² = 2.5 − 2·1.5 + 1 = ½.
    """
    head = Head.of(torch.tensor([1.0, 1.0, 1.0, 0.0]), 3)
    gram = unpacked(packed_co_occurrence(held([0, 1]), head, 1.0), 3)
    third, sixth = 2**0.5 / 3, -(2**0.5) / 6
    expected = [[third, sixth, sixth], [sixth, third, sixth], [sixth, sixth, third]]
    assert gram.tolist() == [pytest.approx(line, abs=1e-6) for line in expected]


def test_bought_again_an_item_counts_once_at_its_last_time(held):
    """Item 0 first and last: it is one event from item 2 and two from item 1, not two and one."""
    head = Head.of(POPULARITY, ITEMS)
    again = packed_co_occurrence(held([0, 1, 2, 0]), head, 1.0)
    assert torch.allclose(again, packed_co_occurrence(held([1, 2, 0]), head, 1.0), atol=1e-6)
    assert not torch.allclose(again, packed_co_occurrence(held([0, 1, 2]), head, 1.0), atol=1e-2)


def test_events_off_the_head_keep_their_place_in_time(held):
    head = Head.of(torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 3)
    near = packed_co_occurrence(held([2, 0, 1]), head, 1.0)
    far = packed_co_occurrence(held([2, 0, 5, 5, 5, 1]), head, 1.0)
    assert not torch.allclose(near, far, atol=1e-2)


def test_without_a_half_life_it_is_the_outer_product_of_the_centred_row(held):
    head = Head.of(POPULARITY, ITEMS)
    row = torch.zeros(ITEMS, dtype=torch.float64)
    row[[0, 1, 6]] = 1.0
    row -= torch.from_numpy(head.direction) * float(row @ torch.from_numpy(head.direction))
    row /= row.norm()
    gram = unpacked(packed_co_occurrence(held([0, 6, 1, 0]), head, 0.0), ITEMS)
    assert torch.allclose(gram, torch.outer(row, row).float(), atol=1e-6)


def test_popularity_by_hand(held):
    found = popularity_sum(held([1, 4, 4], [], [4]), ITEMS)
    half = 2**-0.5
    assert found.tolist() == pytest.approx([0, half, 0, 0, 1 + half, 0, 0, 0], abs=1e-6)


def test_rows_of_serving_weigh_newer_events_more(held):
    rows = purchases(held([4, 1, 4], []), ITEMS, half_life=1.0).toarray()
    assert rows[0].tolist() == pytest.approx([0, 0.5, 0, 0, 1.25, 0, 0, 0])
    assert purchases(held([4, 1, 4]), ITEMS).toarray()[0].tolist() == [0, 1, 0, 0, 2, 0, 0, 0]
    assert np.linalg.norm(unit_rows(purchases(held(*BASKETS), ITEMS)).toarray(), axis=1) == pytest.approx(
        [1, 0, 1, 1, 1], abs=1e-6
    )


def test_pairs_by_hand():
    left, right = pairs(np.array([0, 0, 2]))
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 1), (2, 2)]


# Against the definition


@given(
    st.lists(basket, min_size=1, max_size=5), anything, st.integers(1, ITEMS), st.sampled_from([0, 0.5, 30])
)
def test_the_sum_is_that_of_a_plain_loop(baskets, popularity, size, half_life):
    head = Head.of(torch.tensor(popularity, dtype=torch.float32), size)
    gram = unpacked(packed_co_occurrence(events_of(*baskets), head, half_life), size)
    assert torch.allclose(gram, plain_loop(baskets, head, half_life).float(), atol=1e-4)


@given(basket, anything, st.integers(1, ITEMS), st.sampled_from([0, 0.001, 0.5, 3, 30, 1e6]))
def test_no_device_passes_norm_one_whatever_it_holds_and_the_server_says(held, popularity, size, half_life):
    head = Head.of(torch.tensor(popularity, dtype=torch.float32), size)
    update = ROUNDING * packed_co_occurrence(events_of(held), head, half_life)
    norm = float(update.double().norm())
    assert norm <= 1.0
    assert norm == pytest.approx(0.0, abs=1e-12) or norm == pytest.approx(1.0, abs=1e-4)
    assert float((ROUNDING * popularity_sum(events_of(held), ITEMS)).double().norm()) <= 1.0


@pytest.mark.parametrize("half_life", [0.0, 0.5, 30.0, 1e6])
@pytest.mark.parametrize("seed", range(3))
def test_nor_does_one_with_thousands_of_events(seed, half_life):
    """Adversarial directions too: its own purchases, nearly, so that next to nothing is left beside."""
    generator = np.random.default_rng(seed)
    items, bought = 1500, 4000
    basket = generator.integers(0, items, bought)
    own = np.bincount(basket, minlength=items) > 0
    for far in (1.0, 1e-1, 1e-2, 3e-3, 1e-3, 3e-4, 1e-5):
        popularity = torch.from_numpy(own + far * generator.standard_normal(items)).float()
        head = Head.of(popularity, 1200)
        update = ROUNDING * packed_co_occurrence(events_of(basket.tolist()), head, half_life)
        norm = float(update.double().norm())
        assert norm <= 1.0
        assert norm == 0.0 or norm > 1.0 - 1e-4


def test_one_that_holds_nothing_of_the_head_adds_nothing(held):
    head = Head.of(POPULARITY, 2)
    assert head.items.tolist() == [0, 4]
    assert not packed_co_occurrence(held([], [1, 2, 7]), head, 3.0).any()
    assert not popularity_sum(held([], []), ITEMS).any()


def test_one_with_nothing_beside_popularity_adds_nothing(held):
    assert not packed_co_occurrence(held([4]), Head.of(POPULARITY, 1), 3.0).any()


# In blocks


@pytest.mark.parametrize("half_life", [0.0, 2.0])
@pytest.mark.parametrize("most", [1, 4, 11])
def test_blocks_change_nothing(most, half_life, held, monkeypatch):
    head = Head.of(POPULARITY, 6)
    whole = packed_co_occurrence(held(*BASKETS), head, half_life)
    monkeypatch.setattr(client.co_occurrence, "BLOCK_PAIRS", most)
    assert torch.allclose(packed_co_occurrence(held(*BASKETS), head, half_life), whole, atol=1e-6)


def test_blocks_hold_every_device_once_within_their_bound(held, monkeypatch):
    monkeypatch.setattr(client.co_occurrence, "BLOCK_PAIRS", 12)
    blocks = list(device_blocks(held(*BASKETS), 3))  # pairs of each, at most: 6, 0, 1, 6, 6
    assert [block.counts.tolist() for block in blocks] == [[3, 0, 1], [4, 6]]


def test_a_farm_is_the_sum_of_its_devices(held):
    events, head = held(*BASKETS), Head.of(POPULARITY, 6)
    devices = [events.span(device, device + 1) for device in range(len(BASKETS))]
    apart = torch.stack([packed_co_occurrence(device, head, 2.0) for device in devices]).sum(dim=0)
    assert torch.allclose(packed_co_occurrence(events, head, 2.0), apart, atol=1e-6)
    apart = torch.stack([popularity_sum(device, ITEMS) for device in devices]).sum(dim=0)
    assert torch.allclose(popularity_sum(events, ITEMS), apart, atol=1e-6)
