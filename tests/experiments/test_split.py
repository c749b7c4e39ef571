"""Leave one out by hand, and against a plain loop over every shopper's rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import experiments.split
from client.events import Events
from experiments.datasets.dataset import Dataset, HeldOut, ImportReport
from experiments.split import NONE, SAMPLED_NEGATIVES, leave_one_out, validation_split
from models.catalogue import Catalogue

Row = tuple[int, int, int]  # device, item, time


def dataset(rows: Sequence[Row], devices: int, items: int, held_out: HeldOut | None = None) -> Dataset:
    table = pd.DataFrame({"item": [f"i{i}" for i in range(items)], "title": ["x"] * items})
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    weights = np.arange(1.0, len(rows) + 1.0)  # a row's number, so that training rows can be named
    events = Events.from_columns(columns[:, 0], columns[:, 1], columns[:, 2], weights, devices)
    return Dataset("hand", Catalogue(table), events, ImportReport("hand"), held_out=held_out)


def split_one(history: Sequence[tuple[int, int]]) -> tuple[int, list[int], int]:
    """Of one shopper's (item, time): held-out item, numbers of the rows that train, rows dropped as later."""
    split = leave_one_out(dataset([(0, item, time) for item, time in history], 1, 10))
    return int(split.held_out[0]), [int(w) - 1 for w in split.train.weights], split.later


def test_the_last_item_is_held_out() -> None:
    assert split_one([(3, 10), (5, 20), (7, 30)]) == (7, [0, 1], 0)


def test_rows_are_read_in_order_of_time() -> None:
    assert split_one([(7, 30), (3, 10), (5, 20)]) == (7, [1, 2], 0)


def test_a_repeat_is_not_a_new_item() -> None:
    """Item 3 was bought before, so 5 is the last new one. What came after it is the future, and dropped."""
    assert split_one([(3, 10), (5, 20), (3, 30)]) == (5, [0], 1)


def test_all_rows_of_the_held_out_item_are_dropped() -> None:
    assert split_one([(3, 10), (4, 20), (5, 30), (5, 40), (3, 50), (5, 60)]) == (5, [0, 1], 3)


def test_repeats_before_the_held_out_item_stay() -> None:
    assert split_one([(3, 10), (3, 20), (4, 30), (3, 40), (5, 50)]) == (5, [0, 1, 2, 3], 0)


def test_at_one_instant_the_later_row_is_later() -> None:
    assert split_one([(3, 10), (5, 10), (4, 10)]) == (4, [0, 1], 0)
    assert split_one([(4, 10), (3, 10), (5, 10)]) == (5, [0, 1], 0)
    # at one instant with a repeat: rows 3, 5, 3 leave 5
    assert split_one([(3, 10), (5, 10), (3, 10)]) == (5, [0], 1)


def test_fewer_than_two_items_train_and_are_not_tested() -> None:
    assert split_one([(3, 10)]) == (NONE, [0], 0)
    assert split_one([(3, 10), (3, 20), (3, 30)]) == (NONE, [0, 1, 2], 0)


def test_shoppers_do_not_mix_and_one_with_nothing_stays() -> None:
    rows = [(2, 1, 40), (0, 1, 10), (2, 1, 10), (0, 2, 20), (2, 0, 30), (3, 4, 5)]
    split = leave_one_out(dataset(rows, 5, 10))
    assert split.held_out.tolist() == [2, NONE, 0, NONE, NONE]
    assert split.train.counts.tolist() == [1, 0, 1, 1, 0]
    assert split.train.items.tolist() == [1, 1, 4]
    assert split.later == 1  # shopper 2's row at 40
    assert split.negatives.shape == (5, SAMPLED_NEGATIVES)


def test_a_published_test_is_taken_as_it_is() -> None:
    published = HeldOut(np.array([4, -1], dtype=np.int32), np.full((2, 99), 7, dtype=np.int32))
    given_split = dataset([(0, 1, 10), (0, 2, 20), (1, 3, 10)], 2, 10, published)
    split = leave_one_out(given_split)
    assert split.train is given_split.events
    assert split.held_out.tolist() == [4, -1]
    assert split.held_out.dtype == split.negatives.dtype == np.int64
    assert (split.negatives == 7).all()
    assert split.later == 0


def test_negatives_are_different_never_bought_and_complete() -> None:
    generator = np.random.default_rng(0)
    rows = [(int(d), int(i), t) for t, (d, i) in enumerate(generator.integers([40, 250], size=(600, 2)))]
    data = dataset(rows, 40, 250)
    negatives = leave_one_out(data).negatives
    for device in range(40):
        bought = {item for d, item, _ in rows if d == device}  # the held-out item and later rows included
        drawn = negatives[device].tolist()
        assert len(set(drawn)) == 99
        assert not bought & set(drawn)
        assert set(drawn) <= set(range(250))


def test_negatives_are_padded_where_the_catalogue_is_small() -> None:
    split = leave_one_out(dataset([(0, 0, 1), (0, 3, 2), (1, 5, 1)], 3, 6))
    drawn = [sorted(row[row != NONE].tolist()) for row in split.negatives]
    assert drawn == [[1, 2, 4, 5], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]


def test_negatives_are_decided_by_the_seed() -> None:
    data = dataset([(0, 0, 1), (0, 3, 2), (1, 5, 1)], 2, 500)
    one, same, other = (leave_one_out(data, seed).negatives for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_negatives_are_uniform() -> None:
    """2000 shoppers who bought item 0: each other item of 150 is drawn by 99 / 149 of them.

    Within 6 standard deviations, item by item: false alarm below 149 · 2e-9 had the seed been fresh.
    """
    negatives = leave_one_out(dataset([(d, 0, 1) for d in range(2000)], 2000, 150), seed=5).negatives
    counts = np.bincount(negatives[negatives != NONE], minlength=150)
    assert counts[0] == 0
    chance = 99 / 149
    limit = 6 * (2000 * chance * (1 - chance)) ** 0.5
    assert (abs(counts[1:] - 2000 * chance) < limit).all()


def test_nobody_has_anything() -> None:
    split = leave_one_out(dataset([], 0, 4))
    assert len(split.held_out) == 0
    assert len(split.train) == 0


def test_shoppers_without_a_single_event() -> None:
    split = leave_one_out(dataset([], 2, 4))
    assert split.held_out.tolist() == [NONE, NONE]
    assert split.train.num_devices == 2
    assert [sorted(row[row != NONE].tolist()) for row in split.negatives] == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("free", [98, 99, 100, 101])
def test_negatives_are_exactly_what_is_left(free: int) -> None:
    """Of 400 items 400 − `free` were bought: a shopper has 99 of the others, or all there are."""
    bought = np.random.default_rng(free).permutation(400)[free:].tolist()
    split = leave_one_out(dataset([(1, item, 1) for item in bought], 3, 400))
    drawn = split.negatives[1][split.negatives[1] != NONE].tolist()
    assert len(set(drawn)) == len(drawn) == min(free, 99)
    assert not set(drawn) & set(bought)
    assert (split.negatives[[0, 2]] != NONE).all(), "the neighbours have all to choose from"


@pytest.mark.parametrize("numbers", [1, 300, 299 * 7, 10**6])
def test_blocks_of_shoppers_do_not_show(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    rows = [(int(d), int(i), t) for t, (d, i) in enumerate(generator.integers([20, 299], size=(400, 2)))]
    data = dataset(rows, 20, 299)
    expected = leave_one_out(data).negatives
    monkeypatch.setattr(experiments.split, "BLOCK_NUMBERS", numbers)
    assert np.array_equal(leave_one_out(data).negatives, expected)


def by_loop(rows: Sequence[Row], devices: int) -> tuple[list[int], list[list[int]], int]:
    """Held-out items, training rows of each device, and rows dropped as later; as the design words it."""
    held_out, train, later = [], [], 0
    for device in range(devices):
        own = sorted((time, number, item) for number, (d, item, time) in enumerate(rows) if d == device)
        seen: list[int] = []
        start = 0
        for position, (_, _, item) in enumerate(own):
            if item not in seen:
                seen.append(item)
                start = position
        tested = len(seen) >= 2
        held_out.append(seen[-1] if tested else NONE)
        kept = own[:start] if tested else own
        train.append([number for _, number, _ in kept])
        later += len(own) - len(kept) - tested
    return held_out, train, later


rows_strategy = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=25
)


@given(rows_strategy)
def test_against_a_plain_loop(rows: list[Row]) -> None:
    split = leave_one_out(dataset(rows, 4, 5))
    held_out, train, later = by_loop(rows, 4)
    assert split.held_out.tolist() == held_out
    found = [split.train.span(d, d + 1).weights.astype(int) - 1 for d in range(4)]
    assert [each.tolist() for each in found] == train
    assert split.later == later


@given(rows_strategy)
def test_training_never_sees_the_held_out_item_or_what_came_after(rows: list[Row]) -> None:
    data = dataset(rows, 4, 5)
    split = leave_one_out(data)
    for device in range(4):
        own, kept = data.events.span(device, device + 1), split.train.span(device, device + 1)
        target = split.held_out[device]
        if target == NONE:
            assert len(kept) == len(own)
            continue
        assert target not in kept.items
        assert len(kept) >= 1
        first = int(np.flatnonzero(own.items == target)[0])
        assert len(kept) == first
        assert np.array_equal(kept.items, own.items[:first])
        drawn = split.negatives[device]
        assert not set(drawn[drawn != NONE].tolist()) & set(own.items.tolist())


# --- Validation: the same rule once more, on what trains ---------------------------------------------------


def test_validation_holds_out_the_last_training_item_by_the_same_rule() -> None:
    """Item 7 is the test. Of 3, 5, 3, 6, 5 the last new one is 6, and the 5 after it is the future."""
    history = [(3, 10), (5, 20), (3, 30), (6, 40), (5, 50), (7, 60), (3, 70)]
    test = leave_one_out(dataset([(0, item, time) for item, time in history], 1, 10))
    split = validation_split(test, 10, seed=0)
    assert (test.held_out.tolist(), split.held_out.tolist(), split.later) == ([7], [6], 1)
    assert (split.train.weights - 1).tolist() == [0, 1, 2]


def test_a_shopper_with_two_items_trains_on_one_and_is_not_validated() -> None:
    split = validation_split(leave_one_out(dataset([(0, 3, 10), (0, 5, 20)], 1, 10)), 10, seed=0)
    assert split.held_out.tolist() == [NONE]
    assert split.train.items.tolist() == [3]


@given(rows_strategy)
def test_validation_knows_nothing_of_the_test_purchase(rows: list[Row]) -> None:
    """Another test, published with the same training events: the same split, negatives included."""
    data = dataset(rows, 4, 5)
    split = validation_split(leave_one_out(data), 5, seed=3)
    before = leave_one_out(data).train
    again = validation_split(leave_one_out(replace(data, events=before, held_out=PUBLISHED)), 5, seed=3)
    assert np.array_equal(split.train.items, again.train.items)
    assert np.array_equal(split.held_out, again.held_out)
    assert np.array_equal(split.negatives, again.negatives)
    assert all(
        target == NONE or target in before.span(d, d + 1).items for d, target in enumerate(split.held_out)
    )


PUBLISHED = HeldOut(np.array([0, 1, 2, 3], dtype=np.int32), np.full((4, 99), 1, dtype=np.int32))


def test_validation_draws_negatives_for_as_many_as_the_test() -> None:
    rows = [(d, k, k) for d in range(40) for k in range(4)]
    split = leave_one_out(dataset(rows, 40, 300), most=10)
    validation = validation_split(split, 300)
    assert validation.negatives.shape == split.negatives.shape == (10, SAMPLED_NEGATIVES)
    assert np.array_equal(validation.sample, validation.tested(10))
