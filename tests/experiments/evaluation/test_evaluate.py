"""Both protocols by hand: what is ranked and left out, each metric, and what must have no effect."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import terrycloth.experiments.evaluation.evaluate
from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.evaluation.evaluate import (
    Scorer,
    by_history,
    evaluate,
    evaluate_unseen,
    popularity_of,
    rank_targets,
    sampled_ranks,
)
from terrycloth.experiments.evaluation.metric_table import METRICS, SAMPLED_METRICS, measured
from terrycloth.experiments.evaluation.negatives import NONE, SAMPLED
from terrycloth.experiments.evaluation.split import FIRST_VISIT, LATER_VISITS, Holdout, Rule, Split

ITEMS = 12

Lists = list[list[int]]


def events_of(histories: Lists) -> Events:
    devices = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    items = np.array([item for items in histories for item in items], dtype=np.int64)
    return Events.from_columns(devices, items, np.arange(len(items)), np.ones(len(items)), len(histories))


def targets_of(targets: Lists) -> Targets:
    devices = np.repeat(np.arange(len(targets)), [len(items) for items in targets])
    items = np.array([item for items in targets for item in items], dtype=np.int64)
    return Targets.from_pairs(devices, items, len(targets))


def split_of(
    histories: Lists, targets: Lists, negatives: list[Lists] | None = None, *, repeats: bool = False
) -> Split:
    """Return a split; `negatives` has the lists of each draw, of each shopper."""
    draws = negatives or [[]] * len(histories)
    padded = np.full((len(histories), max(1, max(map(len, draws), default=1)), SAMPLED), NONE, dtype=np.int32)
    for shopper, lists in enumerate(draws):
        for draw, items in enumerate(lists):
            padded[shopper, draw, : len(items)] = items
    train = events_of(histories)
    test = Holdout(train, targets_of(targets), padded, np.arange(len(histories)))
    return Split(Rule("next-visit", repeats=repeats), train, test)


def by_first_item(table: Tensor) -> Scorer:
    """Return a scorer that gives a shopper the row of the table that its first item names."""
    return lambda events: table[torch.from_numpy(events.items[events.offsets[:-1]].astype(np.int64))]


@pytest.fixture
def downhill() -> Scorer:
    """Return a scorer whose scores fall from item 0 to item 11 for every shopper."""
    return lambda events: torch.arange(ITEMS, 0, -1.0).expand(events.num_devices, -1)


# --- One target -------------------------------------------------------------------------------------------


def test_one_target_by_hand(downhill: Scorer) -> None:
    """Ranks are 3 − 1 bought above = 2, and 12 − 1 = 11, a miss; the third shopper is not tested."""
    split = split_of([[0], [1], [2]], [[2], [11], []], [[[0, 1, 5]], [[3, 4]], [[]]])
    metrics = evaluate(downhill, split, ITEMS)
    full = metrics["full"]
    assert full["hr@10"] == full["anyhit@10"] == full["recall@10"] == 0.5
    assert full["recall@20"] == 1.0
    assert full["ndcg@10"] == pytest.approx(0.5 / math.log2(3))
    assert full["mrr"] == pytest.approx((1 / 2 + 1 / 11) / 2)
    # Among the negatives 0, 1 and 5 item 2 is third; among 3 and 4 item 11 is third too.
    assert metrics["sampled99"] == {"hr@10": 1.0, "ndcg@10": pytest.approx(0.5)}


def test_items_bought_before_are_not_ranked(downhill: Scorer) -> None:
    """Item 10 is ranked 11th, or 10th if one of the items above it was bought."""
    for bought, hit in (([11], 0.0), ([3], 1.0), ([3, 3, 3], 1.0), ([0, 1, 2, 3, 4], 1.0)):
        assert evaluate(downhill, split_of([bought], [[10]]), ITEMS)["full"]["hr@10"] == hit
    everything_else = evaluate(downhill, split_of([list(range(11))], [[11]]), ITEMS)
    assert everything_else["full"]["mrr"] == 1.0


def test_items_bought_by_others_are_ranked(downhill: Scorer) -> None:
    split = split_of([[0, 1, 2], [11]], [[], [3]])
    assert evaluate(downhill, split, ITEMS)["full"]["mrr"] == pytest.approx(1 / 4)


def test_tied_items_count_half() -> None:
    """With equal scores the middle of 11 ranked items is 6; of two targets each has 10 ranks, so 5.5."""
    flat: Scorer = lambda events: torch.zeros(events.num_devices, ITEMS)  # noqa: E731
    metrics = evaluate(flat, split_of([[0]], [[3]], [[[1, 2, 4]]]), ITEMS)
    assert metrics["full"]["mrr"] == pytest.approx(1 / 6)
    assert metrics["sampled99"]["ndcg@10"] == pytest.approx(1 / math.log2(1 + 2.5))
    assert evaluate(flat, split_of([[0]], [[3, 5]]), ITEMS)["full"]["mrr"] == pytest.approx(1 / 5.5)


# --- Several targets --------------------------------------------------------------------------------------


def test_each_target_is_ranked_alone_and_recall_counts_the_list(downhill: Scorer) -> None:
    """Items 2 and 11 are below item 1, and below nine items that are no targets: 2nd and 11th."""
    full = evaluate(downhill, split_of([[0]], [[2, 11]]), ITEMS)["full"]
    assert full["hr@10"] == full["anyhit@10"] == 1.0
    assert full["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(11)) / 2)
    assert full["mrr"] == pytest.approx((1 / 2 + 1 / 10) / 2)
    assert full["recall@10"] == 0.5
    assert full["recall@20"] == 1.0


def test_a_shopper_counts_once_however_many_targets_it_has() -> None:
    """Two of the first shopper's three targets are last of twenty; the second's only target is found."""
    scorer = by_first_item(torch.arange(20.0, 0, -1).expand(20, -1))
    full = evaluate(scorer, split_of([[0], [0]], [[1, 18, 19], [2]]), 20)["full"]
    assert full["hr@10"] == pytest.approx((1 / 3 + 1) / 2)
    assert full["anyhit@10"] == 1.0


def test_recall_divides_by_as_many_targets_as_fit() -> None:
    """Of 30 items in order 13 are targets: two at the start, and eleven at the end."""
    scorer: Scorer = lambda events: torch.arange(30, 0, -1.0).expand(events.num_devices, -1)  # noqa: E731
    full = evaluate(scorer, split_of([[0]], [[1, 2, *range(19, 30)]]), 30)["full"]
    assert full["recall@10"] == pytest.approx(2 / 10)
    # Ranks 1 … 20 are items 1 … 20, with the targets 1, 2, 19 and 20.
    assert full["recall@20"] == pytest.approx(4 / 13)
    assert full["hr@10"] == pytest.approx(2 / 13)
    best = evaluate(scorer, split_of([[29]], [list(range(13))]), 30)["full"]
    assert best["recall@10"] == best["recall@20"] == 1.0


def test_precision_and_average_precision_by_hand() -> None:
    """Of items in order 1, 3 and 24 are targets: ranks 1 and 3 of the list, and one beyond it."""
    scorer: Scorer = lambda events: torch.arange(30, 0, -1.0).expand(events.num_devices, -1)  # noqa: E731
    full = evaluate(scorer, split_of([[0], [0]], [[24, 3, 1], [29]]), 30)["full"]
    assert full["precision@10"] == pytest.approx((2 / 10 + 0) / 2)
    assert full["map@10"] == pytest.approx((1 / 1 + 2 / 3) / 3 / 2)
    # Ten of thirteen fit into the list.
    best = evaluate(scorer, split_of([[29]], [list(range(13))]), 30)["full"]
    assert best["precision@10"] == best["map@10"] == 1.0


def test_anyhit_counts_shoppers() -> None:
    scores = torch.arange(30, 0, -1.0).expand(30, -1)
    split = split_of([[0], [0], [0]], [[1, 29], [28, 29], []])
    full = evaluate(by_first_item(scores), split, 30)["full"]
    assert (full["anyhit@10"], full["hr@10"]) == (0.5, 0.25)


def test_the_sampled_protocol_averages_each_target_over_draws(downhill: Scorer) -> None:
    """Among the negatives of each draw alone, item 6 is third, then first; item 9 is fourth, then third."""
    split = split_of([[0]], [[6, 9]], [[[1, 2, 7], [7, 8]]])
    found = rank_targets(by_history(downhill, split.test), split, ITEMS)
    assert found.sampled.tolist() == [[3.0, 1.0], [4.0, 3.0]]
    expected = sum(1 / math.log2(1 + rank) for rank in (3, 1, 4, 3)) / 4
    assert measured(found)["sampled99"]["ndcg@10"] == pytest.approx(expected)


def test_with_repeats_bought_items_are_ranked_and_reported_separately(downhill: Scorer) -> None:
    """Item 0 is first and 11 is below 1 … 10; the second shopper's 1 and 4 are new, below one and three."""
    split = split_of([[0, 3], [5]], [[0, 11], [1, 4]], repeats=True)
    full = evaluate(downhill, split, ITEMS)["full"]
    assert full["hr@10"] == pytest.approx((1 / 2 + 1) / 2)
    assert full["mrr"] == pytest.approx(((1 + 1 / 11) / 2 + (1 / 2 + 1 / 4) / 2) / 2)
    assert full["repeated_hr@10"] == 1.0  # over the one shopper with a repeat
    assert full["new_hr@10"] == pytest.approx((0 + 1) / 2)
    assert full["coverage@10"] == pytest.approx(10 / 12)
    assert "new_hr@10" not in evaluate(downhill, split_of([[0]], [[1]]), ITEMS)["full"]


# --- Lists ------------------------------------------------------------------------------------------------


def test_coverage_counts_the_lists_of_all_tested_shoppers(downhill: Scorer) -> None:
    """Eleven items can be shown to each shopper: all but the last in order, and the one bought."""
    assert evaluate(downhill, split_of([[0]], [[3]]), ITEMS)["full"]["coverage@10"] == pytest.approx(10 / 12)
    both = evaluate(downhill, split_of([[0], [5], [7]], [[3], [4], []]), ITEMS)
    assert both["full"]["coverage@10"] == pytest.approx(11 / 12)


def test_coverage_does_not_count_bought_items(downhill: Scorer) -> None:
    """With nine of twelve items bought, only three can be shown."""
    metrics = evaluate(downhill, split_of([list(range(9))], [[10]]), ITEMS)
    assert metrics["full"]["coverage@10"] == pytest.approx(3 / 12)


def test_novelty_is_the_mean_over_shown_items_by_training_popularity(downhill: Scorer) -> None:
    """Items 1 … 10 are shown; item 1 is held by three of four, and each other item counts as held by one."""
    full = evaluate(downhill, split_of([[0], [0, 1, 1], [1], [1]], [[2], [], [], []]), ITEMS)["full"]
    assert full["novelty@10"] == pytest.approx((-math.log2(3 / 4) + 9 * 2) / 10)
    short = evaluate(downhill, split_of([list(range(10)), [0]], [[11], []]), ITEMS)["full"]
    assert short["novelty@10"] == pytest.approx(1.0)  # two items can be shown, both of the least popularity


def test_popularity_counts_a_shopper_once() -> None:
    assert popularity_of(events_of([[0, 0, 1], [0], []]), 3).tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])


# --- Shoppers first seen after the date -------------------------------------------------------------------


def test_unseen_shoppers_are_reported_separately_by_visit(downhill: Scorer) -> None:
    split = split_of([[0], [1]], [[2], []])
    known = Holdout(events_of([[0], [0, 1, 2]]), targets_of([[11], [3, 4]]))
    unseen = {
        FIRST_VISIT: Holdout(events_of([[], [], []]), targets_of([[0], [11], [2, 3]])),
        LATER_VISITS: known,
    }
    found = evaluate_unseen(downhill, Split(split.rule, split.train, split.test, unseen), ITEMS)
    assert found[FIRST_VISIT]["visits"] == 3
    assert found[FIRST_VISIT]["hr@10"] == pytest.approx(2 / 3)
    assert found[FIRST_VISIT]["ndcg@10"] == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert found[LATER_VISITS]["visits"] == 2
    assert found[LATER_VISITS]["hr@10"] == 0.5
    assert found[LATER_VISITS]["ndcg@10"] == 0.5
    without, beside = (
        evaluate(downhill, Split(split.rule, split.train, split.test, apart), ITEMS) for apart in ({}, unseen)
    )
    # The comparison is by repr, because the error of one shopper is NaN.
    assert repr(without) == repr(beside), "other figures must not change"


# --- What must not affect the result ----------------------------------------------------------------------


def test_the_scorer_gets_only_the_history_of_tested_shoppers(downhill: Scorer) -> None:
    seen: list[list[int]] = []

    def recording(events: Events) -> Tensor:
        seen.append(events.items.tolist())
        return downhill(events)

    evaluate(recording, split_of([[0, 4], [1], [2, 6]], [[3, 7], [], [5]]), ITEMS)
    assert seen == [[0, 4, 2, 6]]


@pytest.mark.parametrize("block_scores", [1, ITEMS, 3 * ITEMS, 100 * ITEMS])
def test_the_size_of_blocks_does_not_change_the_metrics(
    block_scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(3)
    table = torch.from_numpy(generator.normal(size=(ITEMS, ITEMS)))
    histories = [[int(item)] for item in generator.integers(ITEMS, size=10)]
    targets = [
        [(items[0] + step) % ITEMS for step in range(1, 1 + d % 4)] for d, items in enumerate(histories)
    ]
    split = split_of(histories, targets, [[[(items[0] + 5) % ITEMS]] for items in histories])
    expected = evaluate(by_first_item(table), split, ITEMS)
    monkeypatch.setattr(terrycloth.experiments.evaluation.evaluate, "BLOCK_SCORES", block_scores)
    assert evaluate(by_first_item(table), split, ITEMS) == expected


def test_a_sample_is_repeatable_and_no_larger_than_requested(downhill: Scorer) -> None:
    seen: list[list[int]] = []

    def recording(events: Events) -> Tensor:
        seen.append(events.items.tolist())
        return downhill(events)

    split = split_of([[d] for d in range(8)], [*([(d + 1) % ITEMS] for d in range(7)), []])
    first = evaluate(recording, split, ITEMS, sample=3)
    again = evaluate(recording, split, ITEMS, sample=3)
    assert first == again
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3
    assert 7 not in seen[0], "only tested shoppers may be drawn"
    whole = evaluate(recording, split, ITEMS)
    assert evaluate(recording, split, ITEMS, sample=0) == whole
    assert evaluate(recording, split, ITEMS, sample=7) == whole
    assert evaluate(recording, split, ITEMS, sample=700) == whole
    assert seen[-1] == list(range(7))


def test_a_sample_is_not_the_first_rows(downhill: Scorer) -> None:
    seen: list[int] = []

    def recording(events: Events) -> Tensor:
        seen.extend(events.times.tolist())
        return downhill(events)

    evaluate(recording, split_of([[0]] * 200, [[1]] * 200), ITEMS, sample=20)
    assert max(seen) > 100
    assert seen == sorted(seen)


def test_scores_are_not_changed() -> None:
    table = torch.arange(ITEMS * ITEMS, dtype=torch.float32).view(ITEMS, ITEMS)
    kept = table.clone()
    evaluate(lambda events: table[: events.num_devices], split_of([[0], [1]], [[2], [3, 4]]), ITEMS)
    assert torch.equal(table, kept)


def test_metrics_are_nan_if_there_is_no_shopper_to_test(downhill: Scorer) -> None:
    metrics = evaluate(downhill, split_of([[0], [1]], [[], []]), ITEMS)
    assert set(metrics["full"]) == {*METRICS, "hr@10_error", "coverage@10"}
    assert set(metrics["sampled99"]) == set(SAMPLED_METRICS)
    assert all(math.isnan(metrics["full"][name]) for name in (*METRICS, "hr@10_error"))
    assert all(math.isnan(value) for value in metrics["sampled99"].values())


def test_a_scorer_that_gives_nan_is_an_error() -> None:
    broken: Scorer = lambda events: torch.full((events.num_devices, ITEMS), torch.nan)  # noqa: E731
    with pytest.raises(ValueError, match="NaN"):
        evaluate(broken, split_of([[0]], [[3]]), ITEMS)


def test_padding_is_not_ranked_as_a_negative() -> None:
    """−1 must be read neither as item 0 nor as the last item, which have the highest scores here."""
    scores = torch.tensor([[9.0, 1.0, 2.0, 9.0]])
    one = torch.tensor([0]), torch.tensor([1])
    negatives = torch.tensor([[[2, NONE, NONE], [NONE, NONE, NONE]]])
    assert sampled_ranks(scores, *one, negatives).tolist() == [[2.0, 1.0]]
    assert sampled_ranks(scores, *one, torch.empty(1, 0, 0)).shape == (1, 0)


# --- Against another implementation -----------------------------------------------------------------------


LISTS = ["recall@10", "recall@20", "precision@10", "map@10"]  # metrics of the list


@pytest.mark.slow  # ranx compiles its functions first
@pytest.mark.parametrize("most", [1, 6])
def test_metrics_equal_those_of_ranx(most: int) -> None:
    """Recall of the list is compared for up to six targets, and everything else for one.

    All scores differ.
    """
    ranx = pytest.importorskip("ranx")
    generator = np.random.default_rng(most)
    shoppers, items = 50, 40
    table = np.stack([generator.permutation(items) for _ in range(shoppers)]).astype(np.float64)
    bought = [generator.permutation(items)[: 10 + most] for _ in range(shoppers)]
    histories = [sorted(own[:10].tolist()) for own in bought]
    targets = [own[10 : 10 + generator.integers(1, most + 1)].tolist() for own in bought]
    full = evaluate(lambda events: torch.from_numpy(table), split_of(histories, targets), items)["full"]
    wanted = ranx.Qrels({f"u{u}": {f"i{item}": 1 for item in own} for u, own in enumerate(targets)})
    run = ranx.Run(
        {
            f"u{u}": {f"i{i}": table[u, i] for i in range(items) if i not in histories[u]}
            for u in range(shoppers)
        }
    )
    theirs = ranx.evaluate(wanted, run, [*LISTS, "hit_rate@10", "ndcg@10", "mrr"])
    theirs["anyhit@10"] = theirs.pop("hit_rate@10")
    names = ["anyhit@10", *LISTS] + ["ndcg@10", "mrr"] * (most == 1)
    assert 0.1 < full["recall@10"] < 0.9
    assert {name: full[name] for name in names} == pytest.approx({name: theirs[name] for name in names})
