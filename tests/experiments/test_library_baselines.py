"""EASE by its closed form and iALS by its normal equations, by hand; what is chosen, and on what."""

from pathlib import Path

import numpy as np
import pytest
import torch

import experiments.library_baselines
from client.events import Events
from experiments.config import RunConfig
from experiments.datasets import load
from experiments.evaluate import evaluate
from experiments.library_baselines import (
    MOST_EASE_ITEMS,
    best_of,
    fit_ease,
    fit_ials,
    missing,
    too_many_items,
    tuned_baselines,
)
from experiments.simulation import data_options, make_plan
from experiments.split import Split, leave_one_out
from models.errors import UserError

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def bought(rows: list[tuple[int, int]], devices: int) -> Events:
    columns = np.array(rows)
    return Events.from_columns(
        columns[:, 0], columns[:, 1], np.arange(len(rows)), np.ones(len(rows)), devices
    )


@pytest.fixture
def pair() -> Events:
    """Shopper 0 has both of two items, the first of them twice; shopper 1 the second."""
    return bought([(0, 0), (0, 0), (0, 1), (1, 1)], 2)


def test_ease_of_two_items_by_hand(pair: Events) -> None:
    """XᵀX + I = [[2, 1], [1, 3]]; P = [[3, −1], [−1, 2]] / 5; B = [[0, 1/2], [1/3, 0]] (Steck 2019, eq. 8).

    Bought twice counts once, or XᵀX would be [[4, 2], [2, 2]].
    """
    scores = fit_ease(pair, 2, {"lambda": 1.0})(pair)
    assert torch.allclose(scores, torch.tensor([[1 / 3, 1 / 2], [1 / 3, 0.0]]), atol=1e-6)


def test_ease_by_its_closed_form() -> None:
    drawn = np.random.default_rng(0).random((40, 7)) < 0.3
    events = bought([(int(d), int(i)) for d, i in np.argwhere(drawn)], 40)
    rows = drawn.astype(float)
    inverse = np.linalg.inv(rows.T @ rows + 5.0 * np.eye(7))
    weights = np.eye(7) - inverse / np.diag(inverse)
    found = fit_ease(events, 7, {"lambda": 5.0})(events)
    assert np.allclose(found.numpy(), rows @ weights, atol=1e-5)
    assert np.allclose(np.diag(weights), 0.0)


IALS = {"factors": 2, "regularisation": 0.5, "alpha": 3.0, "iterations": 400}


def confidence(events: Events, items: int) -> np.ndarray:
    """1 + α log₂(1 + quantity) where bought, by a loop."""
    totals = np.zeros((events.num_devices, items))
    for device, item in zip(events.devices, events.items, strict=True):
        totals[device, item] += 1.0
    return np.where(totals > 0, 1.0 + IALS["alpha"] * np.log2(1.0 + totals), 0.0)


def solved(weights: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Each row's vector, one small system at a time: (Σ w y yᵀ + λI) x = Σ c y; w is c where bought, or 1."""
    penalty = IALS["regularisation"] * np.eye(others.shape[1])
    return np.stack(
        [
            np.linalg.solve((others.T * np.where(own > 0, own, 1.0)) @ others + penalty, own @ others)
            for own in weights
        ]
    )


def test_ials_agrees_with_systems_solved_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scores are those of shoppers' vectors that solve their normal equations, given its items' vectors;
    and at the end its items' vectors solve theirs, given the shoppers'.
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
    scores = fit_ials(events, 6, IALS)(events).numpy()
    (model,) = kept
    weights, items = confidence(events, 6), np.asarray(model.item_factors, dtype=np.float64)
    shoppers = solved(weights, items)
    assert np.allclose(scores, shoppers @ items.T, atol=1e-4)
    assert np.abs(solved(weights.T, shoppers) - items).max() < 1e-3
    assert np.abs(items).max() > 0.1


def toy_split() -> Split:
    """Twenty shoppers who have two of items 0 … 2; half held out item 3 in the test, half item 4."""
    rows = [(d, i) for d in range(20) for i in ((d + k) % 3 for k in range(2))]
    held_out = np.where(np.arange(20) % 2, 3, 4)
    negatives = np.tile(np.arange(99) % 2 + 5, (20, 1))
    return Split(bought(rows, 20), held_out.astype(np.int64), negatives, np.arange(20), later=0)


def test_validation_never_sees_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the test's items and negatives are, the same is fitted and ranked until all is chosen."""
    seen: list[tuple[list[int], list[int], list[int]]] = []

    def spied(grid, fit, validation, num_items, sample):
        arrays = validation.train.items, validation.held_out, validation.negatives.ravel()
        seen.append(tuple(array.tolist() for array in arrays))
        return best_of(grid, fit, validation, num_items, sample)

    monkeypatch.setattr(experiments.library_baselines, "best_of", spied)
    for grid in ("EASE_GRID", "IALS_GRID"):
        monkeypatch.setattr(
            experiments.library_baselines, grid, getattr(experiments.library_baselines, grid)[:2]
        )
    one = toy_split()
    other = Split(one.train, (one.held_out + 1) % 3 + 3, one.negatives + 1, one.sample, later=0)
    chosen = [[settings for _, settings in tuned_baselines(split, 8).values()] for split in (one, other)]
    assert chosen[0] == chosen[1]
    assert len(seen) == 6
    assert seen[:3] == seen[3:]
    trained, held_out, ranked = seen[0]
    assert not {3, 4, 5} & {*trained, *held_out}
    assert {3, 4, 5} <= {*ranked}  # like any item that nobody has


def test_the_best_of_a_grid_is_by_ndcg_over_the_whole_catalogue() -> None:
    """Only λ = 2 scores shopper 0's held-out item first."""
    train = bought([(0, 0)], 1)
    split = Split(train, np.array([2]), np.full((1, 99), -1), np.arange(1), later=0)

    def fit(events, num_items, settings):
        assert events is train
        scores = torch.zeros(1, 12)
        scores[0, 2] = 1.0 if settings["lambda"] == 2.0 else -1.0
        return lambda held: scores

    grid = [{"lambda": value} for value in (1.0, 2.0, 3.0)]
    assert best_of(grid, fit, split, 12, 0) == ({"lambda": 2.0}, 1.0)


def test_ease_is_left_out_beyond_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert too_many_items(10_428) is None
    reason = too_many_items(MOST_EASE_ITEMS + 1)
    assert reason is not None
    assert "20,001 items are more than 20,000" in reason
    monkeypatch.setattr(experiments.library_baselines, "MOST_EASE_ITEMS", 7)
    monkeypatch.setattr(
        experiments.library_baselines, "IALS_GRID", experiments.library_baselines.IALS_GRID[:1]
    )
    assert list(tuned_baselines(toy_split(), 8)) == ["ials"]


def test_without_the_libraries_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.library_baselines, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'need their libraries: pip install "terrycloth\[baselines\]"'):
        make_plan(RunConfig(devices=30, baselines=True))


@pytest.mark.realdata
def test_movielens_100k_is_where_others_have_it(shared_data: Path) -> None:
    """EASE with λ = 300 .662/.393, iALS with 32 dimensions .677/.394, against 99 negatives, measured apart.

    Two standard errors of 943 shoppers are .03 in HR@10; the same shoppers and other negatives are nearer.
    """
    config = RunConfig(data="movielens", path=shared_data / "ml-100k")
    dataset = load(config.data, data_options(config))
    split, items = leave_one_out(dataset), len(dataset.catalogue)
    settings = {"factors": 32, "regularisation": 10.0, "alpha": 1.0, "iterations": 10}
    for fit, chosen, hits, gain in (
        (fit_ease, {"lambda": 300.0}, 0.662, 0.393),
        (fit_ials, settings, 0.677, 0.394),
    ):
        found = evaluate(fit(split.train, items, chosen), split, items)["sampled99"]
        assert found["hr@10"] == pytest.approx(hits, abs=0.02)
        assert found["ndcg@10"] == pytest.approx(gain, abs=0.015)
