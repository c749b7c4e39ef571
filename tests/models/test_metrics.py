"""Ranking metrics by hand, with ties, and against ranx, an independent implementation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.metrics import coverage, held_out_rank, hit_rate, mean_reciprocal_rank, ndcg


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[0.5, 0.9, 0.1, 0.7], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    assert held_out_rank(scores, torch.tensor([0, 0, 0])).tolist() == [3.0, 1.0, 4.0]


def test_a_tie_counts_half() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 3.0, 1.0], [2.0, 2.0, 2.0, 9.0]])
    # level with three: 1 … 4; one better and one level: 2 or 3; one better, two level: 2, 3 or 4
    assert held_out_rank(scores, torch.tensor([2, 0, 1])).tolist() == [2.5, 2.5, 3.0]


def test_items_at_minus_infinity_are_not_in_the_way() -> None:
    scores = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    assert held_out_rank(scores, torch.tensor([1])).tolist() == [2.0]


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        held_out_rank(torch.tensor([[0.0, torch.nan]]), torch.tensor([0]))


def test_metrics_by_hand() -> None:
    ranks = torch.tensor([1.0, 2.5, 10.0, 10.5, 40.0])
    assert hit_rate(ranks, 10) == pytest.approx(3 / 5)
    assert hit_rate(ranks, 1) == pytest.approx(1 / 5)
    assert ndcg(ranks, 10) == pytest.approx((1.0 + 1 / math.log2(3.5) + 1 / math.log2(11.0)) / 5)
    assert ndcg(torch.tensor([3.0]), 10) == 0.5
    assert mean_reciprocal_rank(ranks) == pytest.approx((1 + 1 / 2.5 + 1 / 10 + 1 / 10.5 + 1 / 40) / 5)


def test_nobody_tested_is_nan_and_not_zero() -> None:
    nobody = torch.empty(0)
    assert math.isnan(hit_rate(nobody, 10))
    assert math.isnan(ndcg(nobody, 10))
    assert math.isnan(mean_reciprocal_rank(nobody))


def test_coverage_is_the_union_of_first_places() -> None:
    scores = torch.tensor([[9.0, 8.0, 1.0, 0.0, 2.0], [9.0, 1.0, 0.0, 8.0, 2.0]])
    assert coverage(scores, 2).tolist() == [True, True, False, True, False]
    assert coverage(scores, 100).all()
    assert not coverage(torch.empty(0, 3), 2).any()


def test_coverage_leaves_out_what_is_not_ranked() -> None:
    scores = torch.tensor([[1.0, -torch.inf, -torch.inf]])
    assert coverage(scores, 2).tolist() == [True, False, False]
    assert not coverage(torch.full((2, 3), -torch.inf), 2).any()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
def test_a_rank_is_the_middle_of_the_best_and_the_worst_it_could_be(
    levels: list[int], data: st.DataObject
) -> None:
    item = data.draw(st.integers(0, len(levels) - 1))
    best = 1 + sum(level > levels[item] for level in levels)
    worst = sum(level >= levels[item] for level in levels)
    scores = torch.tensor([levels], dtype=torch.float32)
    assert held_out_rank(scores, torch.tensor([item])).item() == (best + worst) / 2


@given(st.lists(st.floats(-5, 5, width=16), min_size=1, max_size=20))
def test_ranks_of_all_items_add_up_whatever_the_ties(values: list[float]) -> None:
    count = len(values)
    scores = torch.tensor([values] * count)
    assert held_out_rank(scores, torch.arange(count)).sum().item() == count * (count + 1) / 2


@pytest.mark.slow  # ranx compiles itself first
def test_against_ranx() -> None:
    """Distinct random scores: ranx breaks ties by its own rule, so there are none."""
    ranx = pytest.importorskip("ranx")
    generator = np.random.default_rng(11)
    shoppers, items = 60, 40
    scores = np.stack([generator.permutation(items) for _ in range(shoppers)]).astype(np.float64)
    held_out = generator.integers(items, size=shoppers)
    wanted = ranx.Qrels({f"u{u}": {f"i{held_out[u]}": 1} for u in range(shoppers)})
    run = ranx.Run({f"u{u}": {f"i{i}": scores[u, i] for i in range(items)} for u in range(shoppers)})
    theirs = ranx.evaluate(wanted, run, ["hit_rate@10", "ndcg@10", "mrr"])
    ranks = held_out_rank(torch.from_numpy(scores), torch.from_numpy(held_out))
    ours = {
        "hit_rate@10": hit_rate(ranks, 10),
        "ndcg@10": ndcg(ranks, 10),
        "mrr": mean_reciprocal_rank(ranks),
    }
    assert 0.1 < ours["hit_rate@10"] < 0.9
    assert ours == pytest.approx(theirs)
