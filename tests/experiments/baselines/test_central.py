"""The central model is compared with the minimum of its objective, which L-BFGS finds."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from terrycloth.client.events import Events
from terrycloth.client.serving import Serving
from terrycloth.experiments.baselines.central import _whole_catalogue_loss, model_scorer, train_centrally
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.recommender import Recommender

pytestmark = pytest.mark.usefixtures("whole_runs")

ITEMS = 6
CATALOGUE_WEIGHT, REGULARISATION = 0.1, 1.0
SERVING = Serving(CATALOGUE_WEIGHT, negative_weight=1.0, regularisation=REGULARISATION)


def plain_confidences(events: Events) -> np.ndarray:
    """Return log₂(1 + total weight) by a loop: [devices, items]."""
    totals = np.zeros((events.num_devices, ITEMS))
    for device, item, weight in zip(events.devices, events.items, events.weights, strict=True):
        totals[device, item] += weight
    return np.log2(1.0 + totals)


@pytest.fixture
def shop() -> Events:
    """Return the events of twenty shoppers, with six draws each of six items."""
    items = np.random.default_rng(0).integers(0, ITEMS, 120)
    return Events.from_columns(np.repeat(np.arange(20), 6), items, np.arange(120), np.ones(120), 20)


def factorisation(catalogue: Catalogue, dim: int, *, item_bias: bool = True) -> Factorisation:
    model = build_model("mf", catalogue, dim=dim, own_rows=False, item_bias=item_bias)
    assert isinstance(model, Factorisation)
    model.initialise(1)
    return model


def objective(confidence: np.ndarray, shoppers: np.ndarray, items: np.ndarray, biases: np.ndarray) -> float:
    """Return Σ_ui c (1 − s)² + α Σ_ui s² + λ Σ_u |x|² in double precision."""
    scores = shoppers @ items.T + biases
    pulled = (confidence * (1 - scores) ** 2).sum() + CATALOGUE_WEIGHT * (scores**2).sum()
    return float(pulled + REGULARISATION * (shoppers**2).sum())


def best_shoppers(confidence: np.ndarray, items: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Return each shopper's vector that minimises the objective, by one small system each."""
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


def least_objective(confidence: np.ndarray, dim: int, decay: float) -> float:
    """Return the minimum of `objective` plus ½ · decay · N · |V, b|², by L-BFGS from two starts."""
    devices = len(confidence)
    wanted = torch.from_numpy(confidence)

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.tensor(flat, requires_grad=True)
        shoppers = point[: devices * dim].view(devices, dim)
        shared = point[devices * dim :]
        scores = shoppers @ shared[: ITEMS * dim].view(ITEMS, dim).T + shared[ITEMS * dim :]
        value = (wanted * (1 - scores) ** 2).sum() + CATALOGUE_WEIGHT * (scores**2).sum()
        value = value + REGULARISATION * (shoppers**2).sum() + 0.5 * decay * devices * (shared**2).sum()
        (gradient,) = torch.autograd.grad(value, [point])
        return float(value.detach()), gradient.numpy()

    starts = np.random.default_rng(2).normal(size=(2, (devices + ITEMS) * dim + ITEMS)) * 0.3
    return min(
        float(minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000}).fun)
        for start in starts
    )


@pytest.mark.parametrize("item_bias", [True, False])
def test_the_whole_catalogue_loss_equals_a_double_loop(
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


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, ITEMS])
@pytest.mark.parametrize(("decay", "nearness"), [(0.01, 1.03), (0.03, 1.01), (0.1, 1.001), (0.5, 1.001)])
def test_the_central_model_comes_near_the_minimum_of_its_objective(
    catalogue: Catalogue, shop: Events, dim: int, decay: float, nearness: float
) -> None:
    """The objective is that of federated rounds at their fixed point, with weight decay."""
    confidence = plain_confidences(shop)
    model = factorisation(catalogue, dim)
    train_centrally(model, shop, SERVING, weight_decay=decay)
    with torch.no_grad():
        items, biases = model.item_vectors().double().numpy(), model.item_biases().double().numpy()
    reached = objective(confidence, best_shoppers(confidence, items, biases), items, biases)
    reached += 0.5 * decay * len(confidence) * float((items**2).sum() + (biases**2).sum())
    least = least_objective(confidence, dim, decay)
    assert least * 0.999 < reached < least * nearness


def test_without_weight_decay_the_central_model_approaches_the_lower_bound(
    catalogue: Catalogue, shop: Events
) -> None:
    """Without weight decay there is no minimum: items grow and shoppers shrink for ever.

    The lower bound is Σ c α / (c + α), with each score free.
    """
    confidence = plain_confidences(shop)
    model = factorisation(catalogue, ITEMS)
    train_centrally(model, shop, SERVING)
    with torch.no_grad():
        items, biases = model.item_vectors().double().numpy(), model.item_biases().double().numpy()
    reached = objective(confidence, best_shoppers(confidence, items, biases), items, biases)
    floor = (confidence * CATALOGUE_WEIGHT / (confidence + CATALOGUE_WEIGHT)).sum()
    assert floor < reached < least_objective(confidence, ITEMS, 0.01)


def test_the_central_model_starts_anew_and_depends_only_on_its_seed(
    catalogue: Catalogue, shop: Events
) -> None:
    trained = []
    with torch.random.fork_rng():
        for start, seed in ((1, 0), (2, 0), (1, 1)):
            torch.manual_seed(start)
            model = factorisation(catalogue, 2)
            model.initialise(start)
            train_centrally(model, shop, SERVING, seed=seed)
            trained.append(model.item_vectors().detach())
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mf", "attributes", "neural-cf"])
def test_the_central_model_learns_which_of_two_kinds_a_shopper_buys(catalogue: Catalogue, name: str) -> None:
    """Half of the shoppers buy sand (t0, t1), half moss (t2, t3); one bought only t0, another only t2."""
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
