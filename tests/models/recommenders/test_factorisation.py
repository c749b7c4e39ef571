"""Factorisation models with small whole numbers, so that every sum is exact in single precision."""

import pytest
import torch

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.bag import build_bag
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.recommender import Recommender
from tests.models.recommenders.model_contract import ModelContract, random_vectors


class TestMatrixFactorisation(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return build_model("mf", catalogue, dim=4, own_rows=False, item_bias=True)


class TestAttributes(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return build_model("attributes", catalogue, dim=4, own_rows=False, item_bias=True)


class TestAttributesAndOwnRows(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return build_model("attributes", catalogue, dim=3, own_rows=True, item_bias=True)


class TestWithoutBias(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return build_model("attributes", catalogue, dim=4, own_rows=False, item_bias=False)


@pytest.fixture
def whole_numbers(catalogue: Catalogue) -> Factorisation:
    """Rows (1, 10), (2, 20) … (7, 70) for moss, sand, cotton, linen, bath, hand and unknown; bias i."""
    model = Factorisation(build_bag(catalogue, attributes=True, own_rows=False), dim=2)
    counting = torch.arange(1.0, 8.0)
    model.load_shared(
        {
            "table.weight": torch.stack([counting, 10 * counting], dim=1),
            "bias.weight": torch.arange(6.0).unsqueeze(1),
        }
    )
    return model


def test_item_vectors_are_sums_of_rows(whole_numbers: Factorisation) -> None:
    # t0: sand 2, cotton 3, hand 6; t1: 2, 3, 4, 5; t2: 1, 4, 6; t3: 1, 3, 5; t4: 1, 2, 3; t5: 7
    sums = [11.0, 14.0, 11.0, 9.0, 6.0, 7.0]
    assert whole_numbers.item_vectors().tolist() == [[value, 10 * value] for value in sums]


def test_scores_by_hand(whole_numbers: Factorisation) -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    assert whole_numbers.score_catalogue(vectors).tolist() == [
        [11.0, 15.0, 13.0, 12.0, 10.0, 12.0],
        [110.0, 141.0, 112.0, 93.0, 64.0, 75.0],
        [-88.0, -111.0, -86.0, -69.0, -44.0, -51.0],
    ]


def test_an_explanation_names_its_parts_and_adds_up_to_the_score(whole_numbers: Factorisation) -> None:
    vector = torch.tensor([2.0, 1.0])
    assert whole_numbers.explain(vector, 1) == {
        "colour=sand": 24.0,
        "composition=cotton": 36.0,
        "composition=linen": 48.0,
        "size=bath": 60.0,
        "liked by everyone": 1.0,
    }
    scores = whole_numbers.score_catalogue(vector.unsqueeze(0))[0].tolist()
    assert [sum(whole_numbers.explain(vector, item).values()) for item in range(6)] == scores
    assert whole_numbers.explain(vector, 5) == {"unknown": 84.0, "liked by everyone": 5.0}


def test_without_a_bias_an_explanation_still_adds_up(catalogue: Catalogue) -> None:
    model = build_model("attributes", catalogue, dim=2, own_rows=True, item_bias=False)
    assert isinstance(model, Factorisation)
    model.load_shared({"table.weight": torch.arange(24.0).view(12, 2)})
    vector = torch.tensor([1.0, -3.0])
    scores = model.score_catalogue(vector.unsqueeze(0))[0].tolist()
    assert [sum(model.explain(vector, item).values()) for item in range(6)] == scores
    assert "liked by everyone" not in model.explain(vector, 0)
    assert not model.item_biases().any()


def test_mf_and_attributes_are_one_model_with_two_bags(catalogue: Catalogue) -> None:
    """With all rows in the bag, zero attribute rows leave mf, and zero own rows leave attributes."""
    mf, attributes, both = (
        build_model(name, catalogue, dim=3, own_rows=own_rows, item_bias=True)
        for name, own_rows in (("mf", False), ("attributes", False), ("attributes", True))
    )
    assert {type(model) for model in (mf, attributes, both)} == {Factorisation}
    own, values = random_vectors(6, 3, seed=1), random_vectors(6, 3, seed=2)
    bias = random_vectors(6, 1, seed=3)
    vectors = random_vectors(2, 3, seed=4)
    mf.load_shared({"table.weight": own, "bias.weight": bias})
    attributes.load_shared({"table.weight": torch.cat([values, torch.zeros(1, 3)]), "bias.weight": bias})
    both.load_shared({"table.weight": torch.cat([own, torch.zeros(6, 3)]), "bias.weight": bias})
    torch.testing.assert_close(both.score_catalogue(vectors), mf.score_catalogue(vectors))
    both.load_shared({"table.weight": torch.cat([torch.zeros(6, 3), values]), "bias.weight": bias})
    torch.testing.assert_close(both.score_catalogue(vectors), attributes.score_catalogue(vectors))


def test_padding_draws_no_gradient(whole_numbers: Factorisation) -> None:
    """Row 0 (moss) stands in for the padding of short bags; t5's gradient is in `unknown` alone."""
    with torch.no_grad():
        whole_numbers.shopper.weight.copy_(torch.tensor([[1.0, 2.0]]))
    whole_numbers(torch.tensor([[5]])).sum().backward()
    assert whole_numbers.table.weight.grad is not None
    assert whole_numbers.table.weight.grad.tolist() == [[0.0, 0.0]] * 6 + [[1.0, 2.0]]


def test_starting_point_is_small_and_unbiased(catalogue: Catalogue) -> None:
    model = build_model("mf", catalogue, dim=4096, own_rows=False, item_bias=True)
    model.initialise(0)
    shared = model.shared_parameters()
    assert not shared["bias.weight"].any()
    # Of 6 · 4096 draws, the sample's deviation is within 5.73 / √(2n) = 2.6% of 0.3 / √dim, except with
    # probability 1e-8.
    assert shared["table.weight"].std().item() == pytest.approx(0.3 / 64.0, rel=0.026)


def test_an_unknown_model_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(ValueError, match="'svd'"):
        build_model("svd", catalogue, dim=2, own_rows=False, item_bias=True)
