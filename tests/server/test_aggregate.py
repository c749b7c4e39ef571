"""Sums and their division by a public constant, with small whole numbers, in any order of arrival."""

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.server.aggregate import adapted_clip, make_optimizer, pseudo_gradient, sum_updates
from terrycloth.server.settings import ServerSettings


def server(**changes: Any) -> ServerSettings:
    return ServerSettings.model_validate({"catalogue": Path("catalogue.parquet"), **changes})


def test_sum_by_hand() -> None:
    updates = [
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[4.0]])},
        {"a": torch.tensor([10.0, -2.0]), "b": torch.tensor([[0.5]])},
    ]
    total = sum_updates(updates)
    assert total["a"].tolist() == [11.0, 0.0]
    assert total["b"].tolist() == [[4.5]]
    assert total["a"].dtype == torch.float64


def test_a_sum_of_no_updates_is_an_error() -> None:
    with pytest.raises(ValueError, match="no update"):
        sum_updates([])


def test_the_order_of_arrival_does_not_change_a_bit_of_the_sum() -> None:
    """Even in double precision, a plain sum of these depends on the order of addition."""
    updates = [{"a": torch.tensor([value])} for value in (1.0, 2.0**60, -(2.0**60), 2.0**-53)]
    orders = list(permutations(updates))
    plain = {sum((u["a"].double() for u in order), torch.zeros(1).double()).item() for order in orders}
    assert len(plain) > 1, "with these addends the order does not matter, so the test would prove nothing"
    assert len({sum_updates(list(order))["a"].item() for order in orders}) == 1


@given(
    st.lists(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=3, max_size=3), min_size=2),
    st.randoms(),
)
def test_any_order_of_any_updates_gives_the_same_bits(rows: list[list[float]], random: Any) -> None:
    updates: list[Parameters] = [{"a": torch.tensor(row[:1]), "b": torch.tensor(row[1:])} for row in rows]
    shuffled = random.sample(updates, len(updates))
    one, other = sum_updates(updates), sum_updates(shuffled)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_small_updates_are_not_lost_beside_a_large_one() -> None:
    """2²⁴ + 1 is no single-precision number; the sum of many small updates is kept in double precision."""
    updates = [{"a": torch.tensor([2.0**24])}] + [{"a": torch.tensor([1.0])}] * 3
    assert sum_updates(updates)["a"].item() == 2**24 + 3


def test_the_denominator_is_q_n() -> None:
    gradient = pseudo_gradient({"a": torch.tensor([3.0, -6.0], dtype=torch.float64)}, 10.0)
    assert torch.equal(gradient["a"], torch.tensor([-0.3, 0.6]))
    assert gradient["a"].dtype == torch.float32


def test_the_denominator_does_not_depend_on_the_number_of_replies() -> None:
    """One reply of 6 and three of 2 give the same step: a silent node gives the others no weight."""
    alone = sum_updates([{"a": torch.tensor([6.0])}])
    three = sum_updates([{"a": torch.tensor([2.0])}] * 3)
    assert torch.equal(pseudo_gradient(alone, 6.0)["a"], pseudo_gradient(three, 6.0)["a"])
    assert pseudo_gradient(alone, 6.0)["a"].item() == -1.0


def step(settings: ServerSettings, start: float, gradients: list[float]) -> float:
    parameter = torch.nn.Parameter(torch.tensor([start]))
    optimizer = make_optimizer([parameter], settings)
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.item()


def test_sgd_with_rate_1_and_no_momentum_is_federated_averaging_over_n() -> None:
    plain = server(server_optimizer="sgd", server_learning_rate=1.0, server_momentum=0.0)
    updates = [{"a": torch.tensor([4.0])}, {"a": torch.tensor([16.0])}]
    gradient = pseudo_gradient(sum_updates(updates), 10.0)["a"].item()
    assert step(plain, 3.0, [gradient]) == 3.0 + (4.0 + 16.0) / 10


def test_sgd_momentum_and_weight_decay_by_hand() -> None:
    momentum = server(server_optimizer="sgd", server_learning_rate=0.5, server_momentum=0.5)
    # The velocities are −1 and −1 · ½ − 1 = −1.5, so the result is 0 + 0.5 + 0.75.
    assert step(momentum, 0.0, [-1.0, -1.0]) == 1.25
    decay = server(
        server_optimizer="sgd", server_learning_rate=0.5, server_momentum=0.0, server_weight_decay=0.25
    )
    assert step(decay, 8.0, [0.0]) == 7.0


def test_adam_by_hand() -> None:
    """Kingma & Ba 2015: the first step is lr for any gradient; the second, with β₁ = ½, is computed here."""
    adam = server(server_learning_rate=0.1, server_momentum=0.5)
    assert step(adam, 0.0, [-3.0]) == pytest.approx(0.1)
    assert step(adam, 0.0, [-3000.0]) == pytest.approx(0.1)
    # m = ½·(½·3) + ½·1 = 1.25, /(1 − ¼) = 5/3; v = 0.99·0.01·9 + 0.01·1 = 0.0991, /(1 − 0.9801)
    second = 0.1 * (1.25 / 0.75) / (0.0991 / 0.0199) ** 0.5
    assert step(adam, 0.0, [-3.0, -1.0]) == pytest.approx(0.1 + second, rel=1e-5)


def test_integers_add_up_mod_their_width() -> None:
    near = torch.tensor([2**31 - 1, 5], dtype=torch.int32)
    assert sum_updates([{"a": near}, {"a": near}])["a"].tolist() == [-2, 10]


def test_the_clip_moves_towards_its_quantile_by_hand() -> None:
    settings = ServerSettings.model_validate({"catalogue": Path("c"), "clip_learning_rate": 0.2})
    assert adapted_clip(2.0, 0.5, 0.5, settings) == 2.0
    assert adapted_clip(2.0, 1.0, 0.5, settings) == pytest.approx(2.0 * math.exp(-0.1))
    assert adapted_clip(2.0, 0.0, 0.5, settings) == pytest.approx(2.0 * math.exp(0.1))
    # A share above 1, from noise, is cut off.
    assert adapted_clip(2.0, 40.0, 0.5, settings) == adapted_clip(2.0, 1.0, 0.5, settings)
    assert adapted_clip(1.05e-6, 1.0, 0.5, settings) == 1e-6  # what a device accepts
