"""Updates as integers: the size of rounding errors and of noise, and that no sum of them wraps around."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import terrycloth.models.secure_aggregation.fixed_point
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.discrete_gaussian import LEAST_DEVIATION, concentrated_bound
from terrycloth.models.secure_aggregation.fixed_point import NOISE_REACH, fixed_point
from terrycloth.models.settings import RoundSettings
from tests.models.test_settings import VALID

UPDATE = {"b": torch.tensor([[0.25, -0.5]]), "a": torch.tensor([1e-9])}


def settings(**changes: Any) -> RoundSettings:
    shared = {"unit": "shopper", "trust": "distributed", "devices": 100, "least_devices": 80}
    return RoundSettings.model_validate({**VALID, **shared, **changes})


def test_a_round_trip_is_off_by_half_a_step_at_most() -> None:
    grid = fixed_point(settings(), 3)
    steps = grid.encode(UPDATE)
    assert steps.tolist() == [0, round(0.25 / grid.step), round(-0.5 / grid.step)]  # in order of their names
    back = grid.decode(grid.wrapped(steps), UPDATE)
    assert list(back) == ["a", "b"]
    for name, tensor in UPDATE.items():
        assert back[name].shape == tensor.shape
        assert (back[name] - tensor).abs().max() <= 0.5 * grid.step


devices = st.integers(1, 10**6)


@given(devices, st.floats(0.01, 1.0), st.floats(0.05, 100.0), st.integers(1, 10**7))
def test_enough_noise_remains_if_as_many_devices_drop_out_as_may(
    devices: int, part: float, noise: float, coordinates: int
) -> None:
    """√least shares over the sensitivity is at least the accounted multiplier, by the theorem's own bound."""
    least = max(1, int(part * devices))
    asked = settings(devices=devices, least_devices=least, noise_multiplier=noise, clip=0.7)
    grid = fixed_point(asked, coordinates)
    assert grid.share >= LEAST_DEVIATION
    # The sensitivity covers a whole rounded update of norm C, and the rounded sum that it changes.
    assert grid.sensitivity >= 0.7 / grid.step + math.sqrt(coordinates) * 1.0 - 1e-6
    assert grid.sensitivity <= 0.7 / grid.step * (1 + 1 / 64 + 2.0**-23 * devices) + 1e-6
    bound = concentrated_bound(grid.share, least, grid.sensitivity, coordinates)
    assert bound == pytest.approx(1.0 / noise, rel=1e-9)


@given(devices, st.floats(0.01, 1.0), st.sampled_from([0.0, 0.05, 1.0, 100.0]), st.integers(1, 10**6))
def test_no_sum_wraps_around_at_the_bound(devices: int, part: float, noise: float, coordinates: int) -> None:
    """All devices are at the clip in one coordinate, and each draws the largest possible noise."""
    least = max(1, int(part * devices))
    grid = fixed_point(settings(devices=devices, least_devices=least, noise_multiplier=noise), coordinates)
    one = math.floor(settings().clip / grid.step + 0.5) + math.floor(NOISE_REACH * grid.share)
    for largest in (devices * one, -devices * one):
        assert int(grid.wrapped(torch.tensor([largest])).to(torch.int64)) == largest
        assert -(2 ** (grid.width - 1)) < largest < 2 ** (grid.width - 1)


def test_a_smaller_width_would_wrap_around() -> None:
    """At the smallest number of devices that needs 64 bits, 32 bits would wrap around."""
    few, many = (fixed_point(settings(devices=n, least_devices=n // 2), 10_000) for n in (2_000, 2_000_000))
    assert (few.width, many.width) == (32, 64)
    one = math.floor(settings().clip / many.step + 0.5) + math.floor(NOISE_REACH * many.share)
    largest = torch.tensor([2_000_000 * one])
    assert int(largest.to(torch.int32)) != int(largest)


def test_a_grid_on_which_shares_do_not_add_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one share may be a quarter of a step, its sums are further from a Gaussian than is accounted for."""
    coarse = settings(least_devices=100, noise_multiplier=0.003)
    assert fixed_point(coarse, 1).share >= LEAST_DEVIATION
    monkeypatch.setattr(terrycloth.models.secure_aggregation.fixed_point, "LEAST_DEVIATION", 0.01)
    assert fixed_point(settings(least_devices=1), 1).share > LEAST_DEVIATION  # the grid is still fine enough
    with pytest.raises(ValueError, match="do not add up"):
        fixed_point(coarse, 1)


def test_sums_of_wrapped_steps_are_sums() -> None:
    grid = fixed_point(settings(), 3)
    parts = [grid.wrapped(grid.encode({name: sign * t for name, t in UPDATE.items()})) for sign in (3, -1)]
    total = torch.stack(parts).sum(dim=0, dtype=parts[0].dtype)
    assert grid.decode(total, UPDATE)["b"].flatten().tolist() == pytest.approx([0.5, -1.0], abs=grid.step)


def test_a_sum_too_large_for_64_bits_is_refused() -> None:
    with pytest.raises(UserError, match="fewer devices"):
        fixed_point(settings(devices=10**9, least_devices=1, noise_multiplier=1e6), 10**7)
