"""The linear model: packing keeps the norm, scores follow by hand, reasons add up to the score."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.build import build_model
from models.linear_autoencoder import LEAST_LIFT, LIFT, POPULAR, packed, unpacked
from models.settings import MOST_ITEMS

RIDGE = 12.0  # in mean eigenvalues
POPULARITY = torch.tensor([4.0, 3.0, 2.0, 1.0, 1.0, 0.5])


@pytest.fixture
def build(catalogue):
    def model(head=4, dim=4, noise_deviation=0.0, gram=None):
        built = build_model(
            "linear", catalogue, dim=dim, own_rows=False, item_bias=True, head=head,
            regularisation=RIDGE, noise_deviation=noise_deviation,
        )  # fmt: skip
        square = centred(built) if gram is None else gram
        built.load_shared({"popularity": POPULARITY, "gram": packed(square)})
        return built

    return model


def centred(model) -> torch.Tensor:
    """A gram that a shop could have: items 0 and 1 go together, popularity taken out."""
    d = POPULARITY[: model.head] / POPULARITY[: model.head].norm()
    kernel = torch.eye(model.head)
    kernel[0, 1] = kernel[1, 0] = 0.9
    centre = torch.eye(model.head) - torch.outer(d, d)
    return centre @ kernel @ centre


def uncentred(model) -> torch.Tensor:
    """One with noise along popularity too, which a row must not be read by."""
    return centred(model) + torch.tensor([0.6, 0.2, 0.5, 0.1]).outer(torch.tensor([0.6, 0.2, 0.5, 0.1]))


def row(*items: int, newest: float = 1.0) -> torch.Tensor:
    values = torch.zeros(6)
    values[list(items)] = 1.0
    values[items[-1]] = newest
    return values / values.norm()


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


def liked(z: torch.Tensor) -> torch.Tensor:
    """How much more of z than of what everyone buys has each item's attributes."""
    # By colour (sand, moss), composition (cotton, linen), size (hand, bath).
    incidence = torch.zeros(6, 6)
    incidence[0] = torch.tensor([1, 0, 1, 0, 1, 0]) / 3**0.5
    incidence[1] = torch.tensor([1, 0, 1, 1, 0, 1]) / 2.0
    incidence[2] = torch.tensor([0, 1, 0, 1, 1, 0]) / 3**0.5
    incidence[3] = torch.tensor([0, 1, 1, 0, 0, 1]) / 3**0.5
    incidence[4] = torch.tensor([1, 1, 1, 0, 0, 0]) / 3**0.5
    everyone = (POPULARITY / POPULARITY.sum()) @ incidence
    return incidence @ (((z / z.sum()) @ incidence - everyone) / (everyone + 1e-3))


def test_what_is_shared_starts_at_zero(build):
    model = build()
    model.initialise(3)
    assert {name: tuple(tensor.shape) for name, tensor in model.shared_parameters().items()} == {
        "popularity": (6,),
        "gram": (10,),
    }
    assert not any(tensor.any() for tensor in model.shared_parameters().values())
    assert np.isfinite(model.score_catalogue(torch.ones(1, 6)).numpy()).all()


def test_a_catalogue_of_any_size_has_a_head(catalogue):
    model = build_model("linear", catalogue, dim=2, own_rows=False, item_bias=True)
    assert model.head == 6 < MOST_ITEMS


def test_the_score_by_hand_without_noise(build):
    """(z·p̂)p̂ over all items, ridge regression on the centred row over the head, a little of attributes."""
    gram = uncentred(build())
    model = build(gram=gram)
    z = row(0, 1, 5, newest=2.0)
    popular = POPULARITY / POPULARITY.norm()
    expected = (z @ popular) * popular
    ridge = RIDGE * gram.trace() / 4
    d = POPULARITY[:4] / POPULARITY[:4].norm()
    own = z[:4] - (z[:4] @ d) * d
    expected += LEAST_LIFT * popular * liked(z)
    expected[:4] += torch.linalg.solve(gram + ridge * torch.eye(4), gram @ own)
    assert torch.allclose(model.score_catalogue(z.unsqueeze(0))[0], expected, atol=1e-6)


def test_attributes_lift_where_noise_drowns_the_rest(build):
    """Nothing stands above the edge: g = 0.01 + 0.09 e/(e + λ), p̂ and the catalogue are all there is."""
    deviation = 10.0
    model = build(noise_deviation=deviation)
    z = row(0)
    popular = POPULARITY / POPULARITY.norm()
    edge, ridge = deviation * 8**0.5, RIDGE * float(centred(model).trace()) / 4
    strength = LEAST_LIFT + (LIFT - LEAST_LIFT) * edge / (edge + ridge)
    expected = popular[0] * popular + strength * popular * liked(z)
    assert torch.allclose(model.score_catalogue(z.unsqueeze(0))[0], expected, atol=1e-5)


@pytest.mark.parametrize("deviation", [0.0, 0.02, 10.0])
@pytest.mark.parametrize("item", range(6))
def test_reasons_add_up_to_the_score(deviation, item, build):
    model = build(noise_deviation=deviation, gram=uncentred(build()))
    vector = row(0, 1, 5, newest=3.0)
    parts = model.explain(vector, item)
    assert sum(parts.values()) == pytest.approx(
        float(model.score_catalogue(vector.unsqueeze(0))[0, item]), abs=1e-6
    )
    assert POPULAR in parts
    assert ("you have sand hand towel" in parts) == (item < 4), "only the head has likenesses"
    assert "you have a gift" not in parts, "which is off the head"
    assert ("you like colour=sand" in parts) == (item in (0, 1, 4))


def test_one_who_has_nothing_is_served_as_everyone(build):
    model = build(noise_deviation=0.02)
    popular = POPULARITY / POPULARITY.norm()
    scores = model.score_catalogue(torch.zeros(1, 6))[0]
    assert torch.allclose(scores, popular, atol=1e-6)
    assert torch.allclose(model.score_catalogue(popular.unsqueeze(0))[0], popular, atol=1e-5)
    parts = model.explain(torch.zeros(6), 1)
    assert sum(parts.values()) == pytest.approx(float(scores[1]), abs=1e-6)


def test_two_go_together_where_shoppers_say_so(build):
    model = build()
    score = model.score_catalogue(torch.stack([row(0), row(2)]))
    popular = POPULARITY / POPULARITY.norm()
    assert score[0, 1] > (row(0) @ popular) * popular[1]
    assert score[1, 1] < (row(2) @ popular) * popular[1]


def test_what_is_learned_follows_either_parameter(build):
    model = build()
    first = model.learned
    assert model.learned is first
    model.load_shared({"popularity": POPULARITY.flip(0), "gram": model.gram.detach().clone()})
    assert model.learned.head.tolist() == [1, 3, 4, 5] != first.head.tolist()
    with torch.no_grad():
        model.popularity.copy_(POPULARITY)
    assert model.learned.head.tolist() == first.head.tolist()
    with torch.no_grad():
        model.gram.zero_()
    assert model.learned.spectrum.vectors.shape == (4, 0)


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=16, max_size=16))
def test_a_server_that_lies_causes_no_exception(values):
    import pandas as pd

    from models.catalogue import Catalogue

    names = [f"t{number}" for number in range(6)]
    colours = [("sand",), ("moss",), (), ("sand", "moss"), (), ("moss",)]
    catalogue = Catalogue(pd.DataFrame({"item": names, "title": names, "colour": colours}))
    model = build_model(
        "linear", catalogue, dim=3, own_rows=False, item_bias=True, head=4, noise_deviation=0.1
    )
    numbers = torch.tensor(values, dtype=torch.float32)
    model.load_shared({"popularity": numbers[:6], "gram": numbers[6:]})
    scores = model.score_catalogue(torch.stack([row(0, 5), torch.zeros(6)]))
    assert torch.isfinite(scores).all()
    model.explain(row(0, 5), 1)
