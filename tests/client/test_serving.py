"""Serving: shopper vectors are fitted on the device, and public parameters are not changed."""

import numpy as np
import pytest
import torch

from terrycloth.client.serving import Serving, serving_vectors
from terrycloth.client.training.least_squares import confidences, solve_vectors
from terrycloth.models.recommenders.recommender import interaction_loss

ITEMS = 8
SERVING = Serving(catalogue_weight=0.3, negative_weight=1.0, regularisation=0.2)
MODELS = [{"model": "mf"}, {"model": "attributes"}, {"model": "neural-cf"}]
NAMES = ["mf", "attributes", "neural-cf"]


@pytest.fixture
def events(held):
    return held([1, 4, 4], [], [6, 0, 2, 6])


@pytest.mark.parametrize("model", MODELS[:2], ids=NAMES[:2])
def test_the_vector_of_a_factorisation_is_the_exact_minimum(model, events, ask, build):
    recommender = build(ask(**model))
    expected = solve_vectors(
        confidences(events, ITEMS),
        recommender.item_vectors().detach(),
        recommender.item_biases().detach(),
        catalogue_weight=0.3,
        regularisation=0.2,
    )
    assert torch.equal(serving_vectors(recommender, events, SERVING), expected)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_fitting_does_not_change_shared_parameters(model, events, ask, build, copied):
    recommender = build(ask(**model))
    before = copied(recommender)
    vectors = serving_vectors(recommender, events, SERVING)
    assert vectors.shape == (3, 3)
    assert not vectors.requires_grad
    for name, tensor in recommender.shared_parameters().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in recommender.parameters())


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_fitting_is_repeatable_and_does_not_use_the_global_generator(model, events, ask, build):
    recommender = build(ask(**model))
    state = torch.get_rng_state()
    first = serving_vectors(recommender, events, SERVING)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(serving_vectors(recommender, events, SERVING), first)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_purchased_items_score_higher_after_fitting(model, events, ask, build):
    recommender = build(ask(**model))
    vectors = serving_vectors(recommender, events, SERVING)
    with torch.no_grad():
        fitted = recommender.score_catalogue(vectors)
        unfitted = recommender.score_catalogue(torch.zeros_like(vectors))
    devices, items = torch.from_numpy(events.devices), torch.from_numpy(events.items.astype(np.int64))
    lift = fitted - unfitted
    lift = lift - lift.mean(dim=1, keepdim=True)  # relative to the rest of the catalogue
    assert float(lift[devices, items].mean()) > 0.01


def test_a_fitted_vector_has_a_lower_loss_than_none(events, ask, build):
    recommender = build(ask(model="neural-cf"))
    vectors = serving_vectors(recommender, events, SERVING)
    devices, items = torch.from_numpy(events.devices), torch.from_numpy(events.items.astype(np.int64))
    generator = torch.Generator().manual_seed(5)
    negatives = torch.randint(ITEMS, (len(items), 200), generator=generator)
    candidates = torch.cat([items.unsqueeze(1), negatives], dim=1)

    def loss(of: torch.Tensor) -> float:
        with torch.no_grad():
            scores = recommender.score_candidates(of[devices], candidates)
            fit = interaction_loss(scores, torch.ones(len(items)), 1.0, recommender.loss).sum()
            return float(fit + SERVING.regularisation * of.square().sum())

    assert loss(vectors) < 0.95 * loss(torch.zeros_like(vectors))


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_a_device_without_events_is_served(model, ask, build, held):
    recommender = build(ask(**model, item_bias=False))
    vectors = serving_vectors(recommender, held([], []), SERVING)
    assert torch.equal(vectors, torch.zeros(2, 3))


@pytest.mark.parametrize("model", MODELS[:2], ids=NAMES[:2])
def test_a_device_is_served_the_same_alone_as_in_a_group(model, events, ask, build):
    recommender = build(ask(**model))
    together = serving_vectors(recommender, events, SERVING)
    for device in range(3):
        alone = serving_vectors(recommender, events.span(device, device + 1), SERVING)
        torch.testing.assert_close(alone[0], together[device], rtol=1e-5, atol=1e-6)


def test_a_recency_half_life_changes_a_fitted_vector(ask, build, held):
    recommender = build(ask(model="neural-cf"))
    events = held([1, 1, 1, 6])
    recent, equal = (Serving(0.3, 1.0, 0.01, recency_half_life=life) for life in (0.5, None))
    one, other = (serving_vectors(recommender, events, serving) for serving in (recent, equal))
    assert float((one - other).norm()) > 1e-3


@pytest.mark.parametrize("model", MODELS[:2], ids=NAMES[:2])
def test_a_recency_half_life_favours_the_latest_purchase(model, ask, build, held):
    recommender = build(ask(**model))
    events = held([1, 1, 1, 6])
    recent, equal = (Serving(0.3, 1.0, 0.01, recency_half_life=life) for life in (0.5, None))

    def lead(serving: Serving) -> float:
        vectors = serving_vectors(recommender, events, serving)
        scores = recommender.score_catalogue(vectors)[0].detach()
        return float(scores[6] - scores[1])

    assert lead(recent) > lead(equal) + 1e-3


def test_the_events_of_one_device_do_not_change_the_vector_of_another(ask, build, held):
    """Hits of several devices may be counted together, so one more purchase may change only one of them."""
    model = build(ask(model="neural-cf"))
    serving = Serving(catalogue_weight=0.1, negative_weight=1.0, regularisation=0.5)
    with_it = serving_vectors(model, held([1, 2, 3], [4, 5], [6]), serving)
    without = serving_vectors(model, held([], [4, 5], [6]), serving)
    torch.testing.assert_close(with_it[1:], without[1:], rtol=0, atol=1e-5)
    assert (with_it[0] - without[0]).abs().max() > 0.1
