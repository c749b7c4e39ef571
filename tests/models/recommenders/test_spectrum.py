"""Eigenvalues below the edge of the noise's spectrum are dropped; those above are corrected for the noise."""

import pytest
import torch

from terrycloth.models.recommenders.linear_autoencoder import unpacked
from terrycloth.models.recommenders.spectrum import Spectrum, shrunk

SIZE = 60
RIDGE = 12.0  # in mean eigenvalues


def spectrum(matrix: torch.Tensor, deviation: float, most: int) -> Spectrum:
    return shrunk(matrix, deviation, most, RIDGE)


def two_tastes() -> torch.Tensor:
    """Return a matrix of eigenvalue 2 for what all items share, and 0.5 for two tastes of ten items each."""
    rows = torch.zeros(2, SIZE)
    rows[0, :10] = rows[1, 20:30] = 20**-0.5
    rows[0, 10:20] = rows[1, 30:40] = -(20**-0.5)
    return 2.0 / SIZE * torch.ones(SIZE, SIZE) + rows.T @ rows / 2


def noise(size: int, deviation: float, seed: int) -> torch.Tensor:
    drawn = torch.randn(size * (size + 1) // 2, generator=torch.Generator().manual_seed(seed))
    return unpacked(deviation * drawn, size)


@pytest.mark.parametrize("deviation", [0.005, 0.5])
def test_only_eigenvalues_above_the_edge_are_kept(deviation):
    """The tastes are above the edge s·√(2M) = 0.055 and are kept; below an edge of 5.5 all is dropped."""
    kept = []
    for seed in range(20):
        matrix = two_tastes() + noise(SIZE, deviation, seed)
        # The edge is taken 10% higher, because the matrix is finite.
        kept.append(spectrum(matrix, 1.1 * deviation, most=32).vectors.shape[1])
    assert kept == [2 if deviation == 0.005 else 0] * 20


def test_without_noise_the_weights_are_those_of_a_ridge_regression():
    """The first eigenvector, of eigenvalue 9, is the centre; the others' mean over the four items is 1."""
    values = torch.tensor([9.0, 2.0, 1.0, 1.0])
    centre, vectors, weights, part = spectrum(torch.diag(values), 0.0, most=3)
    assert centre.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert sorted(weights.tolist(), reverse=True) == pytest.approx([2 / (2 + 12), 1 / (1 + 12), 1 / (1 + 12)])
    assert vectors.shape == (4, 3)
    assert not vectors[0].any()
    assert part == 0.0


def test_the_edge_by_hand():
    """M = 2 and s = 1/2 give e = 1; w = 5/4 is θ = 1 with c² = 3/4; λ is 12 · (5/4) / 2; w < e is dropped."""
    _, _, weights, part = spectrum(torch.tensor([[1.25, 0.0], [0.0, 9.0]]), 0.5, most=2)
    assert weights.tolist() == pytest.approx([0.75 * 1.0 / (1.0 + 7.5)])
    assert part == pytest.approx(1.0 / (1.0 + 7.5))
    assert spectrum(torch.tensor([[0.99, 0.0], [0.0, 9.0]]), 0.5, most=2).weights.tolist() == []


def test_the_centre_is_positive_whatever_the_sign_of_the_eigenvector():
    """The eigenvectors of [2 1; 1 2] are (1, 1)/√2 up to a sign, and noise may make one entry negative."""
    for matrix in ([[2.0, 1.0], [1.0, 2.0]], [[2.0, -1.0], [-1.0, 2.0]]):
        assert spectrum(torch.tensor(matrix), 0.0, most=2).centre.tolist() == pytest.approx([2**-0.5] * 2)


def test_eigenvalue_and_overlap_are_corrected_for_noise():
    """An eigenvalue θ of a large matrix is observed as θ + e²/4θ, with overlap 1 − e²/4θ²."""
    size, theta, deviation = 400, 2.0, 0.05  # the edge is at 1.41
    direction = torch.ones(size)
    direction[::2] = -1.0
    direction /= size**0.5
    common = torch.full((size, size), 50.0 / size)
    matrix = common + theta * torch.outer(direction, direction) + noise(size, deviation, 1)
    _, vectors, weights, _ = spectrum(matrix, deviation, most=1)
    edge = deviation * (2.0 * size) ** 0.5
    overlap = 1.0 - (edge / (2.0 * theta)) ** 2
    assert float(vectors[:, 0] @ direction) ** 2 == pytest.approx(overlap, abs=0.03)
    ridge = RIDGE * max(float(torch.linalg.eigvalsh(matrix)[:-1].sum()), 0.0) / size
    assert float(weights[0]) == pytest.approx(overlap * theta / (theta + ridge), abs=0.03)


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-30, 1e30, 3e38])
def test_no_finite_matrix_overflows(scale):
    matrix = torch.tensor([[1.0, 0.5], [0.5, -1.0]]) * scale
    for deviation in (0.0, 1e-6, 1e6):
        centre, vectors, weights, part = spectrum(matrix, deviation, most=2)
        assert torch.isfinite(vectors).all()
        assert float(centre.norm()) == pytest.approx(1.0, abs=1e-5)
        assert ((weights >= 0) & (weights <= 1)).all()
        assert 0.0 <= part <= 1.0


@pytest.mark.parametrize("scale", [1e-30, 1e37])
def test_the_unit_of_the_matrix_does_not_matter(scale):
    matrix = torch.diag(torch.tensor([20.0, 10.0, 30.0, 3.0]))
    for deviation in (0.0, 2.0):
        scaled, plain = (
            spectrum(matrix * scale, deviation * scale, most=4),
            spectrum(matrix, deviation, most=4),
        )
        assert scaled.weights.tolist() == pytest.approx(plain.weights.tolist(), rel=1e-4)
        assert scaled.noise == pytest.approx(plain.noise, rel=1e-4)


def test_only_the_largest_eigenvalues_are_kept_up_to_a_maximum():
    matrix = torch.diag(torch.arange(SIZE, dtype=torch.float32))
    assert sorted(spectrum(matrix, 0.0, most=3).vectors.abs().argmax(dim=0).tolist()) == [56, 57, 58]
