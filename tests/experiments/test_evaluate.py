"""The two protocols by hand: what is ranked, what is left out, and what must not show."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import experiments.evaluate
from client.events import Events
from experiments.evaluate import Scorer, evaluate, sampled_rank
from experiments.split import NONE, Split

ITEMS = 12


def split_of(
    histories: list[list[int]], held_out: list[int], negatives: list[list[int]] | None = None
) -> Split:
    devices = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    items = np.array([item for items in histories for item in items], dtype=np.int64)
    padded = np.full((len(histories), 99), NONE, dtype=np.int64)
    for row, drawn in zip(padded, negatives or [[]] * len(histories), strict=True):
        row[: len(drawn)] = drawn
    train = Events.from_columns(devices, items, np.arange(len(items)), np.ones(len(items)), len(histories))
    return Split(train, np.array(held_out, dtype=np.int64), padded, np.arange(len(padded)), later=0)


def by_first_item(table: Tensor) -> Scorer:
    """A shopper's scores are the row of the table that its first item names."""
    return lambda events: table[torch.from_numpy(events.items[events.offsets[:-1]].astype(np.int64))]


@pytest.fixture
def downhill() -> Scorer:
    """Everyone's scores fall from item 0 to item 11."""
    return lambda events: torch.arange(ITEMS, 0, -1.0).expand(events.num_devices, -1)


def test_by_hand(downhill: Scorer) -> None:
    """Ranks: 3 − 1 bought above it = 2; 12 − 1 = 11 → a miss; the third is not tested."""
    split = split_of([[0], [1], [2]], [2, 11, NONE], [[0, 1, 5], [3, 4], []])
    metrics = evaluate(downhill, split, ITEMS)
    assert metrics["full"]["hr@10"] == 0.5
    assert metrics["full"]["ndcg@10"] == pytest.approx(0.5 / math.log2(3))
    assert metrics["full"]["mrr"] == pytest.approx((1 / 2 + 1 / 11) / 2)
    # against negatives 0, 1 and 5 item 2 is third; against 3 and 4 item 11 is third too
    assert metrics["sampled99"]["hr@10"] == 1.0
    assert metrics["sampled99"]["ndcg@10"] == pytest.approx(0.5)


def test_items_bought_before_are_not_in_the_way(downhill: Scorer) -> None:
    """Item 10 comes 11th; with one of those above it bought, 10th."""
    for bought, hit in (([11], 0.0), ([3], 1.0), ([3, 3, 3], 1.0), ([0, 1, 2, 3, 4], 1.0)):
        assert evaluate(downhill, split_of([bought], [10]), ITEMS)["full"]["hr@10"] == hit
    everything_else = evaluate(downhill, split_of([list(range(11))], [11]), ITEMS)
    assert everything_else["full"]["mrr"] == 1.0


def test_items_bought_by_others_are_ranked(downhill: Scorer) -> None:
    split = split_of([[0, 1, 2], [11]], [NONE, 3])
    assert evaluate(downhill, split, ITEMS)["full"]["mrr"] == pytest.approx(1 / 4)


def test_coverage_is_of_all_tested_shoppers_lists(downhill: Scorer) -> None:
    """Eleven items can be shown to each: without the last in order, and the bought one."""
    assert evaluate(downhill, split_of([[0]], [3]), ITEMS)["full"]["coverage@10"] == pytest.approx(10 / 12)
    both = evaluate(downhill, split_of([[0], [5]], [3, 4]), ITEMS)
    assert both["full"]["coverage@10"] == pytest.approx(11 / 12)


def test_coverage_does_not_show_what_was_bought(downhill: Scorer) -> None:
    """With nine of twelve bought, only three can be shown."""
    metrics = evaluate(downhill, split_of([list(range(9))], [10]), ITEMS)
    assert metrics["full"]["coverage@10"] == pytest.approx(3 / 12)


def test_ties_count_half() -> None:
    """All scores alike: 11 items can be ranked, so the middle is 6."""
    flat: Scorer = lambda events: torch.zeros(events.num_devices, ITEMS)  # noqa: E731
    metrics = evaluate(flat, split_of([[0]], [3], [[1, 2, 4]]), ITEMS)
    assert metrics["full"]["mrr"] == pytest.approx(1 / 6)
    assert metrics["sampled99"]["ndcg@10"] == pytest.approx(1 / math.log2(1 + 2.5))


def test_the_scorer_sees_training_events_of_the_tested_alone(downhill: Scorer) -> None:
    seen: list[list[int]] = []

    def spying(events: Events) -> Tensor:
        seen.append(events.items.tolist())
        return downhill(events)

    evaluate(spying, split_of([[0, 4], [1], [2, 6]], [3, NONE, 5]), ITEMS)
    assert seen == [[0, 4, 2, 6]]


@pytest.mark.parametrize("block_scores", [1, ITEMS, 3 * ITEMS, 100 * ITEMS])
def test_blocks_do_not_show(block_scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    table = torch.from_numpy(generator.normal(size=(ITEMS, ITEMS)))
    histories = [[int(item)] for item in generator.integers(ITEMS, size=10)]
    held_out = [(items[0] + 1 + d) % ITEMS if d % 4 else NONE for d, items in enumerate(histories)]
    split = split_of(histories, held_out, [[(items[0] + 5) % ITEMS] for items in histories])
    expected = evaluate(by_first_item(table), split, ITEMS)
    monkeypatch.setattr(experiments.evaluate, "BLOCK_SCORES", block_scores)
    assert evaluate(by_first_item(table), split, ITEMS) == expected


def test_a_sample_is_fixed_and_no_larger_than_asked(downhill: Scorer) -> None:
    seen: list[list[int]] = []

    def spying(events: Events) -> Tensor:
        seen.append(events.items.tolist())
        return downhill(events)

    split = split_of([[d] for d in range(8)], [(d + 1) % ITEMS for d in range(7)] + [NONE])
    first = evaluate(spying, split, ITEMS, sample=3)
    again = evaluate(spying, split, ITEMS, sample=3)
    assert first == again
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3
    assert 7 not in seen[0], "one who is not tested was drawn"
    whole = evaluate(spying, split, ITEMS)
    assert evaluate(spying, split, ITEMS, sample=0) == whole
    assert evaluate(spying, split, ITEMS, sample=7) == whole
    assert evaluate(spying, split, ITEMS, sample=700) == whole
    assert seen[-1] == list(range(7))


def test_a_sample_is_not_the_first_rows(downhill: Scorer) -> None:
    seen: list[int] = []

    def spying(events: Events) -> Tensor:
        seen.extend(events.times.tolist())
        return downhill(events)

    evaluate(spying, split_of([[0]] * 200, [1] * 200), ITEMS, sample=20)
    assert max(seen) > 100
    assert seen == sorted(seen)


def test_scores_are_not_changed() -> None:
    table = torch.arange(ITEMS * ITEMS, dtype=torch.float32).view(ITEMS, ITEMS)
    kept = table.clone()
    evaluate(lambda events: table[: events.num_devices], split_of([[0], [1]], [2, 3]), ITEMS)
    assert torch.equal(table, kept)


def test_nobody_to_test_is_nan_and_not_zero(downhill: Scorer) -> None:
    metrics = evaluate(downhill, split_of([[0], [1]], [NONE, NONE]), ITEMS)
    assert all(math.isnan(metrics["full"][name]) for name in ("hr@10", "ndcg@10", "mrr"))
    assert all(math.isnan(value) for value in metrics["sampled99"].values())


def test_a_scorer_that_gives_nan_is_an_error() -> None:
    broken: Scorer = lambda events: torch.full((events.num_devices, ITEMS), torch.nan)  # noqa: E731
    with pytest.raises(ValueError, match="NaN"):
        evaluate(broken, split_of([[0]], [3]), ITEMS)


def test_padding_is_no_negative() -> None:
    """−1 must not be read as item 0, or as the last one, which score highest here."""
    scores = torch.tensor([[9.0, 1.0, 2.0, 9.0]])
    negatives = torch.tensor([[2, NONE, NONE]])
    assert sampled_rank(scores, torch.tensor([1]), negatives).tolist() == [2.0]
    assert sampled_rank(scores, torch.tensor([1]), torch.full((1, 3), NONE)).tolist() == [1.0]
