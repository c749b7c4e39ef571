"""Head and direction are functions of the released popularity, whatever it holds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.head import FLOOR, LEAST_HEAD, head_items, head_size, popularity_direction
from models.settings import MOST_ITEMS

ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("items", "devices", "noise", "size"),
    [
        (1682, 943, 0.5430750061475776, 708),  # 17 · √(943 / 0.543) = 708.4
        (1682, 943, 1e9, LEAST_HEAD),
        (40, 943, 1e9, 40),
        (1682, 943, 0.0, 1682),
        (10**6, 943, 0.0, MOST_ITEMS),
        (10**6, 10**9, 0.5, MOST_ITEMS),
        (10**6, 6400, 4.0, 680),
    ],
)
def test_the_rule_by_hand(items, devices, noise, size):
    assert head_size(items, noise / devices, 17.0) == size


def test_the_head_is_the_most_popular_and_ties_go_by_index():
    popularity = torch.tensor([1.0, 3.0, 1.0, 0.0, 1.0, -2.0])
    assert head_items(popularity, 3).tolist() == [0, 1, 2]
    assert head_items(torch.tensor([0.0, 0.0, 5.0, 0.0]), 2).tolist() == [0, 2]
    assert head_items(torch.zeros(400), 5).tolist() == [0, 1, 2, 3, 4]
    assert head_items(popularity, 6).tolist() == list(range(6))


def test_the_direction_by_hand():
    assert popularity_direction(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    with_floor = popularity_direction(torch.tensor([2.0, -7.0, 0.0]))
    assert with_floor.tolist() == pytest.approx([1.0, FLOOR, FLOOR], rel=1e-6)


@given(st.lists(ANY, min_size=1, max_size=20), st.data())
def test_whatever_is_sent_the_direction_has_norm_one_and_the_head_its_size(values, data):
    popularity = torch.tensor(values, dtype=torch.float32)
    direction = popularity_direction(popularity)
    assert float(direction.norm()) == pytest.approx(1.0, abs=1e-12)
    assert (direction > 0).all()
    size = data.draw(st.integers(1, len(values)))
    head = head_items(popularity, size)
    assert head.tolist() == sorted(set(head.tolist()))
    assert len(head) == size
    finite = torch.nan_to_num(popularity.double(), nan=0.0)
    left_out = finite[[item for item in range(len(values)) if item not in head.tolist()]]
    assert not len(left_out) or finite[head].min() >= left_out.max()
