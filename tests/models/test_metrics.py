"""Ranks of several targets, with ties: by hand, against a plain loop and against the library ranx."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from terrycloth.models.metrics import above, first, gains, padded, ranks_alone, ranks_together

INFINITY = torch.inf


def ranks(scores: list[list[float]], targets: list[list[int]]) -> tuple[list[float], list[float]]:
    """Return the ranks of each shopper's targets in turn, first each target alone and then all together."""
    table = torch.tensor(scores)
    shoppers = torch.tensor([shopper for shopper, own in enumerate(targets) for _ in own], dtype=torch.int64)
    items = torch.tensor([item for own in targets for item in own], dtype=torch.int64)
    alone = ranks_alone(table, shoppers, items)
    return alone.tolist(), ranks_together(table, shoppers, items, alone).tolist()


def test_one_target_by_hand() -> None:
    scores = [[0.5, 0.9, 0.1, 0.7], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]]
    assert ranks(scores, [[0], [0], [0]]) == ([3.0, 1.0, 4.0], [3.0, 1.0, 4.0])


def test_targets_ranked_alone_do_not_displace_each_other() -> None:
    """Of .9, .7, .5, .3 and .1 the second, third and last are targets, below one, one and two others."""
    assert ranks([[0.5, 0.9, 0.1, 0.7, 0.3]], [[0, 2, 3]]) == ([2.0, 3.0, 2.0], [3.0, 5.0, 2.0])


def test_shoppers_may_have_any_number_of_targets() -> None:
    scores = [[3.0, 2.0, 1.0]] * 4
    assert ranks(scores, [[], [0, 1, 2], [], [2]]) == ([1.0, 1.0, 1.0, 3.0], [1.0, 2.0, 3.0, 3.0])
    assert ranks(scores, [[]] * 4) == ([], [])


def test_a_tied_item_counts_half() -> None:
    scores = [[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 3.0, 1.0], [2.0, 2.0, 2.0, 9.0]]
    # Equal to three others: ranks 1 … 4. One better and one equal: 2 or 3. One better and two equal: 2, 3 or
    # 4.
    assert ranks(scores, [[2], [0], [1]])[0] == [2.5, 2.5, 3.0]


def test_ties_of_targets_with_each_other_and_with_others() -> None:
    """All four scores are equal and two are targets: ranks 1, 2 or 3 alone, and 1 … 4 together."""
    assert ranks([[1.0, 1.0, 1.0, 1.0]], [[0, 3]]) == ([2.0, 2.0], [2.5, 2.5])


def test_items_with_a_score_of_minus_infinity_are_not_ranked() -> None:
    assert ranks([[-INFINITY, 0.0, 1.0, -INFINITY]], [[1]]) == ([2.0], [2.0])


def test_an_item_with_an_infinite_score_is_first() -> None:
    assert ranks([[0.0, INFINITY, 1.0]], [[1]]) == ([1.0], [1.0])


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        ranks([[0.0, math.nan]], [[0]])


def test_scores_are_not_changed_and_may_be_of_64_bits() -> None:
    """In 32 bits the two scores would be equal."""
    scores = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64)
    kept = scores.clone()
    one = torch.tensor([0])
    alone = ranks_alone(scores, one, one)
    assert alone.tolist() == ranks_together(scores, one, one, alone).tolist() == [2.0]
    assert torch.equal(scores, kept)


def test_scores_may_be_an_expanded_row() -> None:
    """Popularity gives such scores, with one row for everybody."""
    scores = torch.tensor([3.0, 2.0, 1.0]).expand(2, -1)
    assert ranks_alone(scores, torch.tensor([0, 1]), torch.tensor([2, 0])).tolist() == [3.0, 1.0]


def plain_rank(scores: list[float], target: int, left_out: list[int]) -> float:
    others = [score for item, score in enumerate(scores) if item != target and item not in left_out]
    level = sum(score == scores[target] for score in others)
    return 1 + sum(score > scores[target] for score in others) + level / 2


levels = st.sampled_from([-INFINITY, 0.0, 1.0, 2.0, 3.0])


@given(st.lists(st.lists(levels, min_size=6, max_size=6), min_size=1, max_size=4), st.data())
def test_ranks_equal_those_of_a_plain_loop(scores: list[list[float]], data: st.DataObject) -> None:
    """Every target has a finite score, because an item that is left out of the ranking is no target."""
    targets = [
        sorted(data.draw(st.sets(st.sampled_from([i for i, score in enumerate(row) if score > -INFINITY]))))
        if max(row) > -INFINITY
        else []
        for row in scores
    ]
    alone, together = ranks(scores, targets)
    pairs = [(shopper, item) for shopper, own in enumerate(targets) for item in own]
    assert alone == [plain_rank(scores[shopper], item, targets[shopper]) for shopper, item in pairs]
    assert together == [plain_rank(scores[shopper], item, []) for shopper, item in pairs]


@given(st.lists(st.floats(-5, 5, width=16), min_size=1, max_size=20))
def test_ranks_of_all_items_add_up_whatever_the_ties(values: list[float]) -> None:
    count = len(values)
    assert sum(ranks([values], [list(range(count))])[1]) == count * (count + 1) / 2
    assert ranks([values], [list(range(count))])[0] == [1.0] * count, "alone, nothing else is there"


# --- The parts --------------------------------------------------------------------------------------------


def test_padding_by_hand() -> None:
    laid_out = padded(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 2]), 4)
    assert laid_out.tolist() == [[1.0, -INFINITY], [-INFINITY] * 2, [2.0, 3.0], [-INFINITY] * 2]
    assert padded(torch.empty(0), torch.empty(0, dtype=torch.int64), 3).shape == (3, 0)


def test_counts_of_higher_scores_by_hand() -> None:
    pool = torch.tensor([[5.0, 1.0, 3.0], [2.0, 2.0, -INFINITY]])
    rows = torch.tensor([0, 0, 1])
    counted = above(pool, padded(torch.tensor([2.0, 3.0, 2.0]), rows, 2), rows)
    assert counted.tolist() == [2.0, 1.5, 1.0]


def test_gains_by_hand() -> None:
    found = gains(torch.tensor([1.0, 2.5, 3.0, 10.0, 10.5, 40.0]), 10)
    expected = [1.0, 1 / math.log2(3.5), 0.5, 1 / math.log2(11.0), 0.0, 0.0]
    assert found.tolist() == pytest.approx(expected)
    assert found.dtype == torch.float64


def listed(scores: Tensor, k: int) -> list[tuple[int, int]]:
    shoppers, items = first(scores, k)
    return list(zip(shoppers.tolist(), items.tolist(), strict=True))


def test_the_first_k_items_by_hand() -> None:
    scores = torch.tensor([[9.0, 8.0, 1.0, 0.0, 2.0], [9.0, 1.0, 0.0, 8.0, 2.0]])
    assert listed(scores, 2) == [(0, 0), (0, 1), (1, 0), (1, 3)]
    assert len(listed(scores, 100)) == 10
    assert listed(torch.empty(0, 3), 2) == []


def test_the_first_k_items_leave_out_unranked_ones() -> None:
    assert listed(torch.tensor([[1.0, -INFINITY, -INFINITY], [-INFINITY] * 3]), 2) == [(0, 0)]


@pytest.mark.slow  # ranx compiles its functions first
def test_metrics_equal_those_of_ranx() -> None:
    """Distinct random scores: ranx breaks ties by its own rule, so there are none."""
    ranx = pytest.importorskip("ranx")
    generator = np.random.default_rng(11)
    shoppers, items = 60, 40
    scores = np.stack([generator.permutation(items) for _ in range(shoppers)]).astype(np.float64)
    held_out = generator.integers(items, size=shoppers)
    wanted = ranx.Qrels({f"u{u}": {f"i{held_out[u]}": 1} for u in range(shoppers)})
    run = ranx.Run({f"u{u}": {f"i{i}": scores[u, i] for i in range(items)} for u in range(shoppers)})
    theirs = ranx.evaluate(wanted, run, ["hit_rate@10", "recall@10", "ndcg@10", "mrr"])
    rows, targets = torch.arange(shoppers), torch.from_numpy(held_out)
    alone = ranks_alone(torch.from_numpy(scores), rows, targets)
    together = ranks_together(torch.from_numpy(scores), rows, targets, alone)
    assert torch.equal(alone, together), "with one target, alone and together are the same"
    hits = float((alone <= 10).double().mean())
    ours = {
        "hit_rate@10": hits,
        "recall@10": hits,
        "ndcg@10": float(gains(alone, 10).mean()),
        "mrr": float((1.0 / alone).mean()),
    }
    assert 0.1 < hits < 0.9
    assert ours == pytest.approx(theirs)
