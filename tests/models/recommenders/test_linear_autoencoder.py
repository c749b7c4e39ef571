"""The linear model: packing keeps the norm, scores follow by hand, and explanations add up to the score."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.models.limits import MOST_ITEMS
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.head import popularity_direction
from terrycloth.models.recommenders.linear_autoencoder import POPULAR, packed, unpacked

RIDGE = 12.0  # in mean eigenvalues
LEAST_LIFT, LIFT = 0.02, 0.15
POPULARITY = torch.tensor([4.0, 3.0, 2.0, 1.0, 1.0, 0.5])


@pytest.fixture
def build(catalogue):
    def model(head_size=4, dim=4, noise_deviation=0.0, gram=None, discount=0.0):
        built = build_model(
            "linear", catalogue, dim=dim, own_rows=False, item_bias=True, head_size=head_size,
            regularisation=RIDGE, noise_deviations=(0.0, noise_deviation),
            attribute_weights=(LEAST_LIFT, LIFT), popularity_discount=discount,
        )  # fmt: skip
        square = GRAM[: built.head_size, : built.head_size] if gram is None else gram
        built.load_shared({"popularity": POPULARITY, "gram": packed(square)})
        return built

    return model


# A plausible matrix: items 0 and 1 are bought together often, items 2 and 3 sometimes.
GRAM = torch.tensor(
    [
        [0.9, 0.5, 0.3, 0.1, 0.1, 0.0],
        [0.5, 0.7, 0.1, 0.1, 0.0, 0.1],
        [0.3, 0.1, 0.5, 0.3, 0.1, 0.0],
        [0.1, 0.1, 0.3, 0.4, 0.0, 0.0],
        [0.1, 0.0, 0.1, 0.0, 0.3, 0.0],
        [0.0, 0.1, 0.0, 0.0, 0.0, 0.2],
    ]
)


def largest_eigenpair(gram: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the largest eigenvalue and its eigenvector, by numpy."""
    values, vectors = np.linalg.eigh(gram.double().numpy())
    return float(values[-1]), torch.from_numpy(np.abs(vectors[:, -1])).float()


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


def liked_attributes(z: torch.Tensor) -> torch.Tensor:
    """Return how much more of z than of an average shopper's purchases has each item's attributes."""
    # The attributes are colour (sand, moss), composition (cotton, linen) and size (hand, bath).
    incidence = torch.zeros(6, 6)
    incidence[0] = torch.tensor([1, 0, 1, 0, 1, 0]) / 3**0.5
    incidence[1] = torch.tensor([1, 0, 1, 1, 0, 1]) / 2.0
    incidence[2] = torch.tensor([0, 1, 0, 1, 1, 0]) / 3**0.5
    incidence[3] = torch.tensor([0, 1, 1, 0, 0, 1]) / 3**0.5
    incidence[4] = torch.tensor([1, 1, 1, 0, 0, 0]) / 3**0.5
    everyone = (POPULARITY / POPULARITY.sum()) @ incidence
    return incidence @ (((z / z.sum()) @ incidence - everyone) / (everyone + 1e-3))


def test_shared_parameters_start_at_zero(build):
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
    assert model.head_size == 6 < MOST_ITEMS


def test_the_score_by_hand_without_noise(build):
    """The sum of (z·u)p̂ over all items, a ridge regression without u over the head, and attributes."""
    model = build()
    z = row(0, 1, 5, newest=2.0)
    popular = POPULARITY / POPULARITY.norm()
    gram = GRAM[:4, :4]
    value, u = largest_eigenpair(gram)
    expected = (z[:4] @ u) * popular
    ridge = RIDGE * (gram.trace() - value) / 4
    expected += LEAST_LIFT * popular * liked_attributes(z)
    rest = gram - value * torch.outer(u, u)
    expected[:4] += torch.linalg.solve(rest + ridge * torch.eye(4), rest @ z[:4])
    assert torch.allclose(model.score_catalogue(z.unsqueeze(0))[0], expected, atol=1e-6)


def test_learned_scores_are_divided_by_a_power_of_popularity(build):
    """What is learned about an item is divided by u^β, where u has mean square 1; the rest is unchanged."""
    plain, discounted = build(), build(discount=0.5)
    z = row(0, 1, 5, newest=2.0)
    plain_scores, scores = (model.score_catalogue(z.unsqueeze(0))[0] for model in (plain, discounted))
    _, u = largest_eigenpair(GRAM[:4, :4])
    learned = z[:4] @ plain.learned.spectrum.vectors * plain.learned.spectrum.weights
    learned = learned @ plain.learned.spectrum.vectors.T
    expected = plain_scores.clone()
    expected[:4] += learned * ((2.0 * u) ** -0.5 - 1.0)
    assert torch.allclose(scores, expected, atol=1e-6)
    for item in range(6):
        assert sum(discounted.explain(z, item).values()) == pytest.approx(float(scores[item]), abs=1e-6)


def test_attributes_weigh_more_where_noise_hides_all_that_is_learned(build):
    """No eigenvalue exceeds the noise: the score is g = 0.02 + 0.13 e/(e + λ) of attributes, and popularity
    p̂.
    """
    deviation = 10.0
    model = build(noise_deviation=deviation)
    z = row(0)
    popular = POPULARITY / POPULARITY.norm()
    value, u = largest_eigenpair(GRAM[:4, :4])
    edge, ridge = deviation * 8**0.5, RIDGE * float(GRAM[:4, :4].trace() - value) / 4
    strength = LEAST_LIFT + (LIFT - LEAST_LIFT) * edge / (edge + ridge)
    expected = u[0] * popular + strength * popular * liked_attributes(z)
    assert torch.allclose(model.score_catalogue(z.unsqueeze(0))[0], expected, atol=1e-5)


def test_noise_shrinks_differences_in_popularity(catalogue):
    """The order of items does not change, but the gap between first and last shrinks."""
    common = {"dim": 4, "own_rows": False, "item_bias": True, "head_size": 4}
    plain, noised = (
        build_model("linear", catalogue, noise_deviations=(deviation, 0.0), **common)
        for deviation in (0.0, 1.0)
    )
    for model in (plain, noised):
        model.load_shared({"popularity": POPULARITY, "gram": packed(GRAM[:4, :4])})
    first, last = plain.learned.popular[[0, 5]], noised.learned.popular[[0, 5]]
    assert first.tolist() == pytest.approx((POPULARITY / POPULARITY.norm())[[0, 5]].tolist())
    assert torch.equal(noised.learned.popular.argsort(), plain.learned.popular.argsort())
    assert float(last[1] / last[0]) > 1.5 * float(first[1] / first[0])
    assert torch.allclose(noised.learned.popular.double(), popularity_direction(POPULARITY, 1.0))


def test_words_of_titles_are_attributes_if_asked_for(catalogue):
    common = {"dim": 4, "own_rows": False, "item_bias": True}
    plain, worded = (build_model("linear", catalogue, title_words=words, **common) for words in (False, True))
    added = set(worded.attribute_names) - set(plain.attribute_names)
    assert added
    assert all(name.startswith("word=") for name in added)
    titles = [str(title).lower().split() for title in catalogue.table["title"]]
    for name in added:
        assert sum(name.removeprefix("word=") in title for title in titles) > 1, name


@pytest.mark.parametrize("deviation", [0.0, 0.02, 10.0])
@pytest.mark.parametrize("item", range(6))
def test_an_explanation_adds_up_to_the_score(deviation, item, build):
    model = build(noise_deviation=deviation)
    vector = row(0, 1, 5, newest=3.0)
    parts = model.explain(vector, item)
    assert sum(parts.values()) == pytest.approx(
        float(model.score_catalogue(vector.unsqueeze(0))[0, item]), abs=1e-6
    )
    assert POPULAR in parts
    assert ("you have sand hand towel" in parts) == (item < 4), (
        "only items of the head have learned similarities"
    )
    assert "you have a gift" not in parts, "the gift is not in the head"
    assert ("you like colour=sand" in parts) == (item in (0, 1, 4))


def test_a_shopper_without_events_gets_the_popular_items(build):
    model = build(noise_deviation=0.02)
    popular = POPULARITY / POPULARITY.norm()
    scores = model.score_catalogue(torch.zeros(1, 6))[0]
    assert torch.allclose(scores, popular, atol=1e-6)
    off_the_head = model.score_catalogue(row(5).unsqueeze(0))[0]
    assert (
        off_the_head[:5].argsort().tolist()
        == (popular * (1 + model.learned.lift * liked_attributes(row(5))))[:5].argsort().tolist()
    )
    parts = model.explain(torch.zeros(6), 1)
    assert sum(parts.values()) == pytest.approx(float(scores[1]), abs=1e-6)


def test_items_bought_together_raise_each_others_score(build):
    model = build()
    score = model.score_catalogue(torch.stack([row(2), row(0)]))
    popular, (_, u) = POPULARITY / POPULARITY.norm(), largest_eigenpair(GRAM[:4, :4])
    assert score[0, 3] > u[2] * popular[3]
    assert score[1, 3] < u[0] * popular[3]


def test_what_is_learned_is_recomputed_when_a_parameter_changes(build):
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
def test_arbitrary_parameters_from_a_server_give_finite_scores(values):
    import pandas as pd

    from terrycloth.models.catalogue import Catalogue

    names = [f"t{number}" for number in range(6)]
    colours = [("sand",), ("moss",), (), ("sand", "moss"), (), ("moss",)]
    catalogue = Catalogue(pd.DataFrame({"item": names, "title": names, "colour": colours}))
    model = build_model(
        "linear", catalogue, dim=3, own_rows=False, item_bias=True, head_size=4, noise_deviations=(0.1, 0.1)
    )
    numbers = torch.tensor(values, dtype=torch.float32)
    model.load_shared({"popularity": numbers[:6], "gram": numbers[6:]})
    scores = model.score_catalogue(torch.stack([row(0, 5), torch.zeros(6)]))
    assert torch.isfinite(scores).all()
    model.explain(row(0, 5), 1)
