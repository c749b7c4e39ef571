"""The head and the popularity direction are functions of the released popularity, whatever values it has."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.models.limits import MOST_ITEMS
from terrycloth.models.recommenders.head import (
    FLOOR,
    LEAST_HEAD,
    head_items,
    head_size,
    popularity_direction,
    posterior_mean,
)

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
def test_the_size_of_the_head_by_hand(items, devices, noise, size):
    assert head_size(items, noise / devices, 17.0) == size


def test_the_head_holds_the_most_popular_items_with_ties_by_index():
    popularity = torch.tensor([1.0, 3.0, 1.0, 0.0, 1.0, -2.0])
    assert head_items(popularity, 3).tolist() == [0, 1, 2]
    assert head_items(torch.tensor([0.0, 0.0, 5.0, 0.0]), 2).tolist() == [0, 2]
    assert head_items(torch.zeros(400), 5).tolist() == [0, 1, 2, 3, 4]
    assert head_items(popularity, 6).tolist() == list(range(6))


def test_the_popularity_direction_by_hand():
    assert popularity_direction(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    with_floor = popularity_direction(torch.tensor([2.0, -7.0, 0.0]))
    assert with_floor.tolist() == pytest.approx([1.0, FLOOR, FLOOR], rel=1e-6)


def test_a_noisy_popularity_is_replaced_by_its_posterior_mean():
    """y = (1, 3, −1) and s = 1. The exponential prior has mean 1, so the normals are centred at 0, 2 and −2.

    a + φ(a)/Φ(a) at 0, 2 and −2 is 0.79788, 2.05525 and 0.37322 (tables of the normal distribution).
    """
    found = posterior_mean(torch.tensor([1.0, 3.0, -1.0], dtype=torch.float64), 1.0)
    assert found.tolist() == pytest.approx([0.79788, 2.05525, 0.37322], abs=1e-5)
    direction = popularity_direction(torch.tensor([1.0, 3.0, -1.0]), 1.0)
    assert (direction / direction[1]).tolist() == pytest.approx(
        [0.79788 / 2.05525, 1.0, 0.37322 / 2.05525], abs=1e-5
    )


def test_the_posterior_mean_equals_the_integral():
    """The reference is a quadrature of θ N(y; θ, s²) e^(−θ/m) over θ ≥ 0."""
    released, deviation = torch.tensor([0.4, -0.2, 2.2], dtype=torch.float64), 0.7
    theta = (torch.arange(300_000, dtype=torch.float64) + 0.5) * 1e-4
    mean = float(released.mean())
    for y, found in zip(released.tolist(), posterior_mean(released, deviation).tolist(), strict=True):
        weight = torch.exp(-0.5 * ((y - theta) / deviation) ** 2 - theta / mean)
        assert found == pytest.approx(float((theta * weight).sum() / weight.sum()), rel=1e-4)


@given(
    st.lists(ANY, min_size=1, max_size=20), st.sampled_from([0.0, 1e-6, 1.0, 1e6, float("inf")]), st.data()
)
def test_the_direction_has_norm_one_and_the_head_its_size_for_any_input(values, deviation, data):
    popularity = torch.tensor(values, dtype=torch.float32)
    direction = popularity_direction(popularity, deviation)
    assert float(direction.norm()) == pytest.approx(1.0, abs=1e-12)
    assert (direction > 0).all()
    size = data.draw(st.integers(1, len(values)))
    head = head_items(popularity, size)
    assert head.tolist() == sorted(set(head.tolist()))
    assert len(head) == size
    finite = torch.nan_to_num(popularity.double(), nan=0.0)
    left_out = finite[[item for item in range(len(values)) if item not in head.tolist()]]
    assert not len(left_out) or finite[head].min() >= left_out.max()
