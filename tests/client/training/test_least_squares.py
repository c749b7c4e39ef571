"""Least squares: each product of matrices is compared with the plain loop that defines it."""

import numpy as np
import pytest
import torch
from torch import Tensor

import terrycloth.client.training.least_squares
from terrycloth.client.training.least_squares import (
    LeastSquaresTrainer,
    blocks,
    confidences,
    shared_gradient,
    solve_vectors,
)

ITEMS = 8
ALPHA, LAMBDA = 0.3, 0.7


@pytest.fixture
def events(held):
    return held([1, 4, 4], [], [6, 0, 2, 6], [], [3], weights=[1.0, 2.0, 1.0, 1.0, 5.0, 1.0, 0.5, 1.0])


@pytest.fixture
def items() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(ITEMS, 3, generator=generator), 0.5 * torch.randn(ITEMS, generator=generator)


def objective(confidence, vectors: Tensor, item_vectors: Tensor, biases: Tensor) -> Tensor:
    """Return Σ_u L_u by a double loop."""
    total = torch.zeros((), dtype=vectors.dtype)
    dense = confidence.toarray()
    for shopper in range(len(vectors)):
        for item in range(len(item_vectors)):
            score = vectors[shopper] @ item_vectors[item] + biases[item]
            total = total + float(dense[shopper, item]) * (1 - score) ** 2 + ALPHA * score**2
        total = total + LAMBDA * vectors[shopper].square().sum()
    return total


def test_confidences_by_hand(events):
    expected = np.zeros((5, ITEMS))
    expected[0, 1] = 1.0  # log₂(1 + 1)
    expected[0, 4] = 2.0  # log₂(1 + 2 + 1)
    expected[2, 6] = np.log2(2.5)  # weights 1 and 0.5
    expected[2, 0] = np.log2(6.0)
    expected[2, 2] = expected[4, 3] = 1.0
    np.testing.assert_allclose(confidences(events, ITEMS).toarray(), expected, rtol=1e-6)


def test_with_a_recency_half_life_later_events_count_more(held):
    events = held([5, 1, 5], [2], weights=[1.0, 4.0, 1.0, 3.0])
    expected = np.zeros((2, ITEMS))
    # Two later events halve a weight; without later events it counts fully.
    expected[0, 5] = np.log2(1 + 0.5 + 1)
    expected[0, 1] = np.log2(1 + 4 * 0.5**0.5)  # one later event
    expected[1, 2] = 2.0
    np.testing.assert_allclose(confidences(events, ITEMS, 2.0).toarray(), expected, rtol=1e-6)


def test_confidences_do_not_change_the_events(events):
    items, weights = events.items.copy(), events.weights.copy()
    confidences(events, ITEMS)
    confidences(events, ITEMS, 1.0)
    assert np.array_equal(events.items, items)
    assert np.array_equal(events.weights, weights)


def solved_by_a_loop(confidence, item_vectors: Tensor, biases: Tensor) -> np.ndarray:
    """Return each device's minimum by numpy, from the objective's second-order form."""
    matrix, targets = item_vectors.double().numpy(), biases.double().numpy()
    found = []
    for row in confidence.toarray().astype(np.float64):
        left = LAMBDA * np.eye(matrix.shape[1])
        right = np.zeros(matrix.shape[1])
        for item, vector in enumerate(matrix):
            left += (row[item] + ALPHA) * np.outer(vector, vector)
            right += (row[item] * (1 - targets[item]) - ALPHA * targets[item]) * vector
        found.append(np.linalg.solve(left, right))
    return np.array(found)


def solve(confidence, items: tuple[Tensor, Tensor]) -> Tensor:
    return solve_vectors(confidence, *items, catalogue_weight=ALPHA, regularisation=LAMBDA)


def test_vectors_equal_those_of_a_plain_loop(events, items):
    confidence = confidences(events, ITEMS)
    vectors = solve(confidence, items)
    assert vectors.dtype == torch.float32
    np.testing.assert_allclose(vectors.numpy(), solved_by_a_loop(confidence, *items), rtol=1e-4, atol=1e-5)


def test_long_vectors_are_solved_in_turn_with_the_same_result(events, items, monkeypatch):
    confidence = confidences(events, ITEMS)
    together = solve(confidence, items)
    monkeypatch.setattr(terrycloth.client.training.least_squares, "OUTER_BYTES", 0)
    np.testing.assert_allclose(solve(confidence, items), together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "outer_bytes", [0, terrycloth.client.training.least_squares.OUTER_BYTES], ids=["in turn", "together"]
)
@pytest.mark.parametrize("bad", [1e30, float("nan")])
def test_a_matrix_that_cannot_be_solved_gives_a_zero_vector(outer_bytes, bad, events, items, monkeypatch):
    """An error would reveal that a device holds the item."""
    monkeypatch.setattr(terrycloth.client.training.least_squares, "OUTER_BYTES", outer_bytes)
    vectors = items[0].clone()
    vectors[0] = bad
    solved = solve(confidences(events, ITEMS), (vectors, items[1]))
    assert torch.equal(solved, torch.zeros(5, 3))


def test_vectors_are_a_minimum(events, items):
    confidence = confidences(events, ITEMS)
    vectors = solve(confidence, items).double().requires_grad_()
    gradient = torch.autograd.grad(
        objective(confidence, vectors, items[0].double(), items[1].double()), vectors
    )
    assert float(gradient[0].abs().max()) < 1e-4


def test_all_empty_devices_get_the_same_vector_from_the_catalogue(events, items):
    vectors = solve(confidences(events, ITEMS), items)
    assert torch.equal(vectors[1], vectors[3])
    assert float(vectors[1].norm()) > 0  # the biases alone move the vector
    without_bias = solve(confidences(events, ITEMS), (items[0], torch.zeros(ITEMS)))
    assert torch.equal(without_bias[1], torch.zeros(3))


def test_no_devices_have_no_vectors(held, items):
    assert solve(confidences(held(), ITEMS), items).shape[0] == 0


def test_the_gradient_equals_autograd_of_the_objective(events, items):
    confidence = confidences(events, ITEMS)
    vectors = torch.randn(5, 3, generator=torch.Generator().manual_seed(9))
    gradient, bias_gradient = shared_gradient(confidence, vectors, *items, ALPHA)
    leaves = [tensor.double().requires_grad_() for tensor in items]
    expected = torch.autograd.grad(objective(confidence, vectors.double(), *leaves), leaves)
    torch.testing.assert_close(gradient.double(), expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bias_gradient.double(), expected[1], rtol=1e-4, atol=1e-4)


def test_blocks_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr(terrycloth.client.training.least_squares, "BLOCK_BYTES", 12)
    assert list(blocks(7, 4)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(blocks(2, 100)) == [slice(0, 1), slice(1, 2)]  # a single row, although it is too large
    assert list(blocks(0, 4)) == []


def test_the_size_of_blocks_does_not_change_the_result(events, items, monkeypatch):
    confidence = confidences(events, ITEMS)
    whole = solve(confidence, items)
    gradients = shared_gradient(confidence, whole, *items, ALPHA)
    monkeypatch.setattr(terrycloth.client.training.least_squares, "BLOCK_BYTES", 1)
    torch.testing.assert_close(solve(confidence, items), whole, rtol=1e-6, atol=1e-6)
    for one, other in zip(shared_gradient(confidence, whole, *items, ALPHA), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", [{"model": "mf"}, {"model": "attributes"}, {"item_bias": False}])
def test_an_update_is_the_negative_gradient_of_the_shared_parameters(
    model, events, plain, build, copied, gather
):
    settings = plain(unit="none", trust="none", catalogue_weight=ALPHA, regularisation=LAMBDA, **model)
    recommender = build(settings)
    parameters = copied(recommender)
    update, vectors = LeastSquaresTrainer(recommender, settings).train(gather(events), parameters)
    assert set(update) == set(parameters)
    leaves = {name: tensor.double().requires_grad_() for name, tensor in parameters.items()}
    item_vectors = torch.stack(
        [sum(leaves["table.weight"][row] for row in bag if row >= 0) for bag in recommender.bag.rows.tolist()]
    )
    biases = leaves["bias.weight"][:, 0] if "bias.weight" in leaves else torch.zeros(ITEMS).double()
    confidence = confidences(events, ITEMS)
    total = objective(confidence, vectors.double(), item_vectors, biases)
    gradients = torch.autograd.grad(total, list(leaves.values()))
    for (name, _), gradient in zip(leaves.items(), gradients, strict=True):
        torch.testing.assert_close(update[name].double(), -gradient, rtol=1e-4, atol=1e-4)
    loop = solved_by_a_loop(confidence, item_vectors.detach(), biases.detach())
    np.testing.assert_allclose(vectors.numpy(), loop, rtol=1e-4, atol=1e-5)
