"""EASE by its closed form, iALS by its normal equations, co-occurrence and item-kNN by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from terrycloth.client.events import Events
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.co_occurrence import APART, VISITS, fit_co_occurrence
from terrycloth.experiments.baselines.ease import LAMBDA, fit_ease
from terrycloth.experiments.baselines.ials import ALPHA, FACTORS, ITERATIONS, REGULARISATION, fit_ials
from terrycloth.experiments.baselines.nearest import NEIGHBOURS, SHRINKAGE, fit_nearest
from terrycloth.experiments.baselines.row import HALF_LIFE
from tests.experiments.baselines.shop import bought, context_of

NONE = {HALF_LIFE: 0.0}
libraries = pytest.mark.skipif(
    BASELINES["ease"].missing() is not None or BASELINES["ials"].missing() is not None,
    reason="the baselines' libraries are not installed",
)


@pytest.fixture
def pair() -> Events:
    """Return events: shopper 0 has both of two items, the first twice and last; shopper 1 the second."""
    return bought([(0, 0), (0, 1), (0, 0), (1, 1)], 2)


@libraries
def test_ease_of_two_items_by_hand(pair: Events) -> None:
    """XᵀX + I = [[2, 1], [1, 3]], P = [[3, −1], [−1, 2]] / 5 and B = [[0, 1/2], [1/3, 0]] (Steck 2019, eq.
    8).

    A repeated purchase counts once, or XᵀX would be [[4, 2], [2, 2]]. Item 1 is a visit older than item 0.
    """
    serve = fit_ease(context_of(pair, 2), {LAMBDA: 1.0})
    assert torch.allclose(serve(NONE)(pair), torch.tensor([[1 / 3, 1 / 2], [1 / 3, 0.0]]), atol=1e-6)
    decayed = serve({HALF_LIFE: 1.0})(pair)
    assert torch.allclose(decayed, torch.tensor([[1 / 6, 1 / 2], [1 / 3, 0.0]]), atol=1e-6)


@libraries
def test_ease_by_its_closed_form() -> None:
    drawn = np.random.default_rng(0).random((40, 7)) < 0.3
    events = bought([(int(d), int(i)) for d, i in np.argwhere(drawn)], 40)
    rows = drawn.astype(float)
    inverse = np.linalg.inv(rows.T @ rows + 5.0 * np.eye(7))
    weights = np.eye(7) - inverse / np.diag(inverse)
    found = fit_ease(context_of(events, 7), {LAMBDA: 5.0})(NONE)(events)
    assert np.allclose(found.numpy(), rows @ weights, atol=1e-5)
    assert np.allclose(np.diag(weights), 0.0)


IALS = {FACTORS: 2.0, REGULARISATION: 0.5, ALPHA: 3.0, ITERATIONS: 400.0}


def confidence(events: Events, items: int, half_life: float) -> np.ndarray:
    """Return 1 + α log₂(1 + quantity) where bought, decayed by later visits, by a loop."""
    totals, later = np.zeros((events.num_devices, items)), np.full((events.num_devices, items), np.inf)
    for device, item, visits in zip(events.devices, events.items, events.later_visits, strict=True):
        totals[device, item] += 1.0
        later[device, item] = min(later[device, item], visits)
    plain = np.where(totals > 0, 1.0 + IALS[ALPHA] * np.log2(1.0 + totals), 0.0)
    return plain * 2.0 ** (-later / half_life) if half_life else plain


def solved(weights: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return each row's solution of (Σ w y yᵀ + λI) x = Σ c y, where w is c if bought, else 1."""
    penalty = IALS[REGULARISATION] * np.eye(others.shape[1])
    return np.stack(
        [
            np.linalg.solve((others.T * np.where(own > 0, own, 1.0)) @ others + penalty, own @ others)
            for own in weights
        ]
    )


@pytest.mark.slow
@libraries
def test_ials_equals_systems_solved_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores come from shoppers' vectors that solve their normal equations, given the items' vectors.

    At the end the items' vectors solve theirs, given the shoppers'. Only serving is decayed.
    """
    import implicit.cpu.als

    kept = []
    plain = implicit.cpu.als.AlternatingLeastSquares.fit

    def fit(model, *arguments, **named):
        kept.append(model)
        return plain(model, *arguments, **named)

    monkeypatch.setattr(implicit.cpu.als.AlternatingLeastSquares, "fit", fit)
    drawn = np.random.default_rng(1).integers(0, 6, (90, 2))
    events = bought([(int(d), int(i)) for d, i in drawn * [3, 1]], 18)
    serve = fit_ials(context_of(events, 6), IALS)
    (model,) = kept
    items = np.asarray(model.item_factors, dtype=np.float64)
    for half_life in (0.0, 2.0):
        shoppers = solved(confidence(events, 6, half_life), items)
        assert np.allclose(serve({HALF_LIFE: half_life})(events).numpy(), shoppers @ items.T, atol=1e-4)
    shoppers = solved(confidence(events, 6, 0.0), items)
    assert np.abs(solved(confidence(events, 6, 0.0).T, shoppers) - items).max() < 1e-3
    assert np.abs(items).max() > 0.1


def test_co_occurrence_by_hand() -> None:
    """With h = 2, shopper 0 has item 0 in visits 0 and 2, 1 in visit 1 and 2 in visit 2; shopper 1 has 0 and
    1.

    C01 = 2^(−1/2) + 1, C02 = 1, C12 = 2^(−1/2); the items have 2, 2 and 1 owners.
    """
    events = bought([(0, 0, 1), (0, 1, 2), (0, 0, 3), (0, 2, 3), (1, 0, 9), (1, 1, 9)], 2)
    root = 2**-0.5
    near = np.array([[0, (root + 1) / 2, root], [(root + 1) / 2, 0, root * root], [root, root * root, 0]])
    serve = fit_co_occurrence(context_of(events, 3), {APART: 2.0})
    assert np.allclose(serve(NONE)(events).numpy(), [near.sum(axis=0), near[0] + near[1]], atol=1e-6)
    decayed = serve({HALF_LIFE: 1.0})(events).numpy()
    assert np.allclose(decayed, [near[0] + 0.5 * near[1] + near[2], near[0] + near[1]], atol=1e-6)
    plain = fit_co_occurrence(context_of(events, 3), {APART: 0.0})(NONE)(events)
    assert plain[1].tolist() == pytest.approx([1.0, 1.0, 2 * root])  # the cosine of both items


def test_co_occurrence_counts_a_limited_number_of_visits_back() -> None:
    """Item 0 in the first visit and item 1 in the last are VISITS − 1 apart; one more is not counted."""
    for visits, expected in ((VISITS, 1.0), (VISITS + 1, 0.0)):
        rows = [(0, 0, 0), *((0, 2, day) for day in range(1, visits - 1)), (0, 1, visits - 1)]
        context = context_of(bought(rows, 1), 3)
        assert float(fit_co_occurrence(context, {APART: 0.0})(NONE)(bought([(0, 1)], 1))[0, 0]) == expected


@libraries
def test_item_knn_by_hand() -> None:
    """n / (√(c d) + 1): items 0 and 1, of 3 shoppers each, share two; item 2, of two, one with each."""
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 0)]
    events = bought(rows, 4)
    near, far = 2 / (3 + 1), 1 / (6**0.5 + 1)
    held = bought([(0, 0), (1, 1), (2, 2)], 3)
    serve = fit_nearest(context_of(events, 4), {SHRINKAGE: 1.0, NEIGHBOURS: 5.0})
    expected = np.array([[0, near, far, 0], [near, 0, far, 0], [far, far, 0, 0]])
    assert np.allclose(serve(NONE)(held).numpy(), expected, atol=1e-6)
    both = bought([(0, 2), (0, 0)], 1)
    assert serve({HALF_LIFE: 1.0})(both)[0].tolist() == pytest.approx([far / 2, near + far / 2, far, 0])


@libraries
def test_item_knn_keeps_only_the_nearest_items() -> None:
    """Items 0 and 1 have four shoppers in common, 0 and 2 have one, and 1 and 2 have none."""
    events = bought([*((d, i) for d in range(4) for i in (0, 1)), (4, 0), (4, 2)], 5)
    held = bought([(0, 1), (1, 2)], 2)
    for neighbours, kept in ((1.0, False), (3.0, True)):
        # The nearest item is the item itself, which is removed afterwards.
        serve = fit_nearest(context_of(events, 3), {SHRINKAGE: 0.0, NEIGHBOURS: neighbours})
        assert (float(serve(NONE)(held)[1, 0]) > 0) == kept


@pytest.mark.slow
@libraries
@pytest.mark.realdata
def test_figures_on_movielens_100k_are_near_separate_measurements(shared_data: Path) -> None:
    """A separate run, with less tuned half-lives, reached .152 by EASE and .123 by co-occurrence."""
    from terrycloth.experiments.baselines.row import Context
    from terrycloth.experiments.datasets import load
    from terrycloth.experiments.datasets.dataset import DataOptions
    from terrycloth.experiments.evaluation.evaluate import evaluate
    from terrycloth.experiments.evaluation.split import make_split, rule_for

    dataset = load("movielens", DataOptions(path=shared_data / "ml-100k"))
    split, items = make_split(dataset, rule_for(dataset, "next-visit")), len(dataset.catalogue)
    for name, settings, hits in (
        ("ease", {LAMBDA: 300.0, HALF_LIFE: 5.0}, 0.162),
        ("co_occurrence", {APART: 10.0, HALF_LIFE: 2.5}, 0.169),
        ("popularity", {}, 0.080),
    ):
        scorer = BASELINES[name].scorer(Context.of(split, dataset.catalogue), settings)
        assert evaluate(scorer, split, items)["full"]["hr@10"] == pytest.approx(hits, abs=0.003)
