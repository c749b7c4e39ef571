"""The one-round model: packing keeps the norm, the edge keeps signal and drops noise, reasons add up."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.linear_autoencoder import LinearAutoencoder, packed, unpacked

ITEMS = 60
NAMES = [f"towel {number}" for number in range(ITEMS)]


def two_tastes() -> torch.Tensor:
    """The mean of x̂x̂ᵀ where half the shoppers buy the first ten items and half the next ten."""
    rows = torch.zeros(2, ITEMS)
    rows[0, :10] = rows[1, 10:20] = 10**-0.5
    return rows.T @ rows / 2


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_packing_keeps_norm_and_matrix(items, seed):
    half = torch.randn(items, items, generator=torch.Generator().manual_seed(seed))
    matrix = half + half.T
    triangle = packed(matrix)
    assert triangle.shape == (items * (items + 1) // 2,)
    assert float(triangle.norm()) == pytest.approx(float(matrix.norm()), rel=1e-5)
    assert torch.allclose(unpacked(triangle, items), matrix, atol=1e-5)


def test_packing_by_hand():
    matrix = torch.tensor([[1.0, 2.0], [2.0, 3.0]])
    assert packed(matrix).tolist() == pytest.approx([1.0, 2.0 * 2**0.5, 3.0])


def test_without_noise_what_was_bought_together_is_recommended():
    model = LinearAutoencoder(NAMES, dim=2)
    model.load_shared({"gram": packed(two_tastes())})
    row = torch.zeros(1, ITEMS)
    row[0, :3] = 3**-0.5
    scores = model.score_catalogue(row)[0]
    assert sorted(scores.topk(10).indices.tolist()) == list(range(10))
    assert scores[10:].abs().max() < 1e-5


@pytest.mark.parametrize("deviation", [0.005, 0.5])
def test_what_stands_above_the_edge_is_kept(deviation):
    """Two eigenvalues of 0.5: above the edge s·√(2M) = 0.055, below that of 5.5, as all of the noise is."""
    kept = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        noise = deviation * torch.randn(ITEMS * (ITEMS + 1) // 2, generator=generator)
        model = LinearAutoencoder(NAMES, dim=32, noise_deviation=1.1 * deviation)  # finite size: 10% over
        model.load_shared({"gram": packed(two_tastes()) + noise})
        kept.append(model.eigenvectors.shape[1])
    assert kept == [2 if deviation == 0.005 else 0] * 20


def test_at_most_dim_are_kept_the_largest():
    model = LinearAutoencoder(NAMES, dim=3)
    model.load_shared({"gram": packed(torch.diag(torch.arange(ITEMS, dtype=torch.float32)))})
    assert sorted(model.eigenvectors.abs().argmax(dim=0).tolist()) == [57, 58, 59]


def test_eigenvectors_follow_the_parameters():
    model = LinearAutoencoder(NAMES, dim=2)
    model.load_shared({"gram": packed(two_tastes())})
    first = model.eigenvectors
    assert model.eigenvectors is first
    model.load_shared({"gram": packed(torch.diag(torch.arange(ITEMS, dtype=torch.float32)))})
    assert not torch.equal(model.eigenvectors, first)


def test_reasons_add_up_to_the_score():
    model = LinearAutoencoder(NAMES, dim=2)
    model.load_shared({"gram": packed(two_tastes())})
    row = torch.zeros(ITEMS)
    row[[1, 4, 12]] = 3**-0.5
    parts = model.explain(row, 5)
    assert list(parts) == ["you have towel 1", "you have towel 4", "you have towel 12"]
    assert sum(parts.values()) == pytest.approx(
        float(model.score_catalogue(row.unsqueeze(0))[0, 5]), abs=1e-6
    )


def test_only_the_gram_is_shared_and_it_starts_at_zero():
    model = LinearAutoencoder(NAMES, dim=2)
    model.initialise(3)
    assert {name: tuple(tensor.shape) for name, tensor in model.shared_parameters().items()} == {
        "gram": (ITEMS * (ITEMS + 1) // 2,)
    }
    assert float(model.gram.detach().abs().sum()) == 0.0
    assert np.isfinite(model.score_catalogue(torch.ones(1, ITEMS)).numpy()).all()
