"""Popularity by hand, and the central model against plain alternating least squares on its objective."""

from itertools import product

import numpy as np
import pytest
import torch

from client.events import Events
from client.serving import Serving
from experiments.baselines import _whole_catalogue_loss, model_scorer, popularity, train_centrally
from models.build import build_model
from models.catalogue import Catalogue
from models.factorisation import Factorisation
from models.recommender import Recommender

ITEMS = 6
CATALOGUE_WEIGHT, REGULARISATION = 0.1, 1.0
SERVING = Serving(CATALOGUE_WEIGHT, negative_weight=1.0, regularisation=REGULARISATION)


def plain_confidences(events: Events) -> np.ndarray:
    """log₂(1 + total weight): [devices, items], by a loop."""
    totals = np.zeros((events.num_devices, ITEMS))
    for device, item, weight in zip(events.devices, events.items, events.weights, strict=True):
        totals[device, item] += weight
    return np.log2(1.0 + totals)


@pytest.fixture
def shop() -> Events:
    """Twenty shoppers, six draws each of six items."""
    items = np.random.default_rng(0).integers(0, ITEMS, 120)
    return Events.from_columns(np.repeat(np.arange(20), 6), items, np.arange(120), np.ones(120), 20)


def factorisation(catalogue: Catalogue, dim: int, *, item_bias: bool = True) -> Factorisation:
    model = build_model("mf", catalogue, dim=dim, own_rows=False, item_bias=item_bias)
    assert isinstance(model, Factorisation)
    model.initialise(1)
    return model


def objective(confidence: np.ndarray, shoppers: np.ndarray, items: np.ndarray, biases: np.ndarray) -> float:
    """Σ_ui c (1 − s)² + α Σ_ui s² + λ Σ_u |x|², spelt out in double precision."""
    scores = shoppers @ items.T + biases
    pulled = (confidence * (1 - scores) ** 2).sum() + CATALOGUE_WEIGHT * (scores**2).sum()
    return float(pulled + REGULARISATION * (shoppers**2).sum())


def best_shoppers(confidence: np.ndarray, items: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Each shopper's vector that minimises the objective, one small system at a time."""
    return np.stack(
        [
            np.linalg.solve(
                (items * (own + CATALOGUE_WEIGHT)[:, None]).T @ items
                + REGULARISATION * np.eye(items.shape[1]),
                (own * (1 - biases)) @ items - CATALOGUE_WEIGHT * biases @ items,
            )
            for own in confidence
        ]
    )


def alternating_least_squares(confidence: np.ndarray, dim: int, sweeps: int) -> float:
    """The objective that Hu, Koren & Volinsky's alternation reaches: shoppers, then items with biases."""
    items = np.random.default_rng(1).normal(size=(ITEMS, dim)) * 0.1
    biases = np.zeros(ITEMS)
    for _ in range(sweeps):
        shoppers = best_shoppers(confidence, items, biases)
        wide = np.c_[shoppers, np.ones(len(shoppers))]
        for item in range(ITEMS):
            own = confidence[:, item]
            matrix = (wide * (own + CATALOGUE_WEIGHT)[:, None]).T @ wide
            solved = np.linalg.solve(matrix + 1e-9 * np.eye(dim + 1), own @ wide)
            items[item], biases[item] = solved[:dim], solved[dim]
    return objective(confidence, best_shoppers(confidence, items, biases), items, biases)


def test_popularity_counts_shoppers_and_not_events(catalogue: Catalogue) -> None:
    """One shopper bought item 0 five times in thousands; two bought item 1 once."""
    train = Events.from_columns(
        devices=np.array([0, 0, 0, 0, 0, 1, 2, 2]),
        items=np.array([0, 0, 0, 0, 0, 1, 1, 3]),
        times=np.arange(8),
        weights=np.array([1000.0] * 5 + [1.0] * 3),
        num_devices=4,
    )
    scores = popularity(train, ITEMS)(train.span(1, 4))
    assert scores.tolist() == [[1.0, 2.0, 0.0, 1.0, 0.0, 0.0]] * 3


@pytest.mark.parametrize("item_bias", [True, False])
def test_the_whole_catalogue_loss_is_the_double_loop(
    catalogue: Catalogue, events: Events, item_bias: bool
) -> None:
    model = factorisation(catalogue, 3, item_bias=item_bias)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    vectors = torch.randn(4, 3, generator=generator)
    confidence = plain_confidences(events)
    shoppers, items = (torch.from_numpy(places) for places in np.nonzero(confidence))
    weights = torch.from_numpy(confidence[confidence > 0]).float()
    found = _whole_catalogue_loss(model, vectors, shoppers, items, weights, 0.3)

    table, biases = model.item_vectors().detach().double(), model.item_biases().detach().double()
    expected = 0.0
    for device, item in product(range(4), range(ITEMS)):
        score = float(vectors[device].double() @ table[item] + biases[item])
        expected += confidence[device, item] * (1 - score) ** 2 + 0.3 * score**2
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dim", [2, ITEMS])
def test_the_central_model_is_as_good_as_alternating_least_squares(
    catalogue: Catalogue, shop: Events, dim: int
) -> None:
    """No worse than a fifth above ten sweeps, and never under what any scores at all could reach.

    The objective holds the shoppers' vectors only, so it has no minimum: items may grow and shoppers shrink
    for ever, and every method creeps on. The floor is Σ c α / (c + α), each score being free.
    """
    confidence = plain_confidences(shop)
    model = factorisation(catalogue, dim)
    train_centrally(model, shop, SERVING)
    with torch.no_grad():
        items, biases = model.item_vectors().double().numpy(), model.item_biases().double().numpy()
    reached = objective(confidence, best_shoppers(confidence, items, biases), items, biases)
    floor = (confidence * CATALOGUE_WEIGHT / (confidence + CATALOGUE_WEIGHT)).sum()
    assert floor < reached < 1.2 * alternating_least_squares(confidence, dim, sweeps=10)
    nothing = confidence.sum()  # all scores 0
    assert reached < 0.2 * nothing


def test_the_central_model_starts_afresh_and_is_decided_by_its_seed(
    catalogue: Catalogue, shop: Events
) -> None:
    trained = []
    with torch.random.fork_rng():
        for start, seed in ((1, 0), (2, 0), (1, 1)):
            torch.manual_seed(start)
            model = factorisation(catalogue, 2)
            model.initialise(start)
            train_centrally(model, shop, SERVING, seed)
            trained.append(model.item_vectors().detach())
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


@pytest.mark.parametrize("name", ["mf", "attributes", "neural-cf"])
def test_the_central_model_learns_which_of_two_kinds_a_shopper_buys(catalogue: Catalogue, name: str) -> None:
    """Half the shoppers buy sand (t0, t1), half moss (t2, t3); one bought t0 alone, another t2 alone."""
    rows = [(d, item) for d in range(30) for item in ((0, 1) if d % 2 else (2, 3))] + [(30, 0), (31, 2)]
    columns = np.array(rows)
    train = Events.from_columns(columns[:, 0], columns[:, 1], np.arange(len(rows)), np.ones(len(rows)), 32)
    model: Recommender = build_model(name, catalogue, dim=4, own_rows=False, item_bias=True)
    train_centrally(model, train, SERVING)
    scores = model_scorer(model, SERVING)(train.span(30, 32))
    assert scores.shape == (2, ITEMS)
    assert not scores.requires_grad
    assert scores[0, 1] > scores[0, 3] + 0.1
    assert scores[1, 3] > scores[1, 1] + 0.1
