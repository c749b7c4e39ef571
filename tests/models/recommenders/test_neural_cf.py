"""Neural collaborative filtering, with a network small enough to work out on paper."""

import pytest
import torch

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.neural_cf import NeuralCF
from terrycloth.models.recommenders.recommender import Recommender, interaction_loss
from tests.models.recommenders.model_contract import ModelContract, random_vectors


class TestNeuralCF(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return build_model("neural-cf", catalogue, dim=3, own_rows=False, item_bias=True)


def test_scores_by_hand() -> None:
    """The network is score = x·v + 2 · relu(x − v + ½) − 1."""
    model = NeuralCF(num_items=2, dim=1)
    model.load_shared(
        {
            "items.weight": torch.tensor([[2.0], [3.0]]),
            "hidden.weight": torch.tensor([[1.0, -1.0]]),
            "hidden.bias": torch.tensor([0.5]),
            "out.weight": torch.tensor([[1.0, 2.0]]),
            "out.bias": torch.tensor([-1.0]),
        }
    )
    # x = 4: 8 + 2 · 2.5 − 1 and 12 + 2 · 1.5 − 1. x = 1: 2 + 0 − 1 and 3 + 0 − 1, because the relu is zero.
    assert model.score_catalogue(torch.tensor([[4.0], [1.0]])).tolist() == [[12.0, 14.0], [1.0, 2.0]]


def test_the_product_path_starts_as_an_inner_product() -> None:
    model = NeuralCF(num_items=5, dim=3)
    model.initialise(0)
    shared = model.shared_parameters()
    assert shared["out.weight"][0, :3].tolist() == [1.0, 1.0, 1.0]
    assert not shared["hidden.bias"].any()
    assert not shared["out.bias"].any()
    model.load_shared({**shared, "hidden.weight": torch.zeros(3, 6)})
    vectors = random_vectors(2, 3, seed=1)
    torch.testing.assert_close(model.score_catalogue(vectors), vectors @ shared["items.weight"].T)


def test_scores_do_not_depend_on_the_blocks_of_shoppers() -> None:
    """With 2²² items of 2 numbers a block holds at most two shoppers, so the third is in another block."""
    model = NeuralCF(num_items=2**22, dim=2)
    model.initialise(0)
    vectors = random_vectors(3, 2, seed=1)
    items = torch.tensor([[0, 2**22 - 1]] * 3)
    with torch.no_grad():
        scores = model.score_catalogue(vectors)
        assert scores.shape == (3, 2**22)
        torch.testing.assert_close(scores[:, [0, -1]], model.score_candidates(vectors, items))


def test_logistic_and_squared_interaction_loss_by_hand() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 3.0]])
    weights = torch.tensor([1.0, 2.0])
    # squared: 1 · 1 + ½ · 0; 2 · (1 − 2)² + ½ · (1 + 9) / 2
    assert interaction_loss(scores, weights, 0.5, "squared").tolist() == [1.0, 4.5]
    # logistic at 0 is ln 2 everywhere: 1 · ln 2 + ½ · ln 2
    first = interaction_loss(scores, weights, 0.5, "logistic")[0].item()
    assert first == pytest.approx(1.5 * 0.6931471805599453)
    # ln(1 + e⁻²) = 0.126928; ln(1 + e) = 1.313262; ln(1 + e³) = 3.048587
    second = interaction_loss(scores, weights, 0.5, "logistic")[1].item()
    assert second == pytest.approx(2 * 0.126928 + 0.5 * (1.313262 + 3.048587) / 2, rel=1e-5)
