"""The four rules of splitting, by hand and against plain loops, and which events may affect which part."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import terrycloth.experiments.evaluation.negatives
from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.datasets.dataset import Dataset, PublishedTest
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.evaluation.negatives import DRAWS, NONE, SAMPLED, sample_negatives
from terrycloth.experiments.evaluation.split import (
    DAY,
    FIRST_VISIT,
    LATER_VISITS,
    Rule,
    Split,
    make_split,
    rule_for,
    split_events,
    validation_split,
)
from terrycloth.experiments.evaluation.split_rules import BEYOND_ITEMS, keyed_draws
from terrycloth.experiments.settings.split_names import SPLITS
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError

Row = tuple[int, int, int]  # device, item, time
History = Sequence[tuple[int, int]]  # item, time
ITEMS = 5
AT = 2  # the date that divides the small examples

rows_strategy = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, ITEMS - 1), st.integers(0, 4)), min_size=1, max_size=25
)


def events_of(rows: Sequence[Row], devices: int) -> Events:
    """Return events whose weights are the rows' numbers, so that training rows can be identified."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Events.from_columns(
        columns[:, 0], columns[:, 1], columns[:, 2], np.arange(len(rows)) + 1.0, devices
    )


def dataset(
    rows: Sequence[Row],
    devices: int,
    items: int = ITEMS,
    published: PublishedTest | None = None,
    *,
    timed: bool = True,
) -> Dataset:
    table = pd.DataFrame({"item": [f"i{i}" for i in range(items)], "title": ["x"] * items})
    return Dataset(
        "hand", Catalogue(table), events_of(rows, devices), ImportReport("hand"), published=published,
        times_known=timed,
    )  # fmt: skip


def trained(split: Split) -> list[int]:
    """Return the numbers of the training rows."""
    return sorted(int(weight) - 1 for weight in split.train.weights)


def targets(held: Targets) -> list[list[int]]:
    bounds = zip(held.offsets[:-1], held.offsets[1:], strict=True)
    return [held.items[start:stop].tolist() for start, stop in bounds]


def split_one(rule: Rule, history: History, seed: int = 0) -> tuple[list[int], list[int], int]:
    """Return one shopper's targets, the numbers of the training rows, and the number of rows left out."""
    split = split_events(events_of([(0, *each) for each in history], 1), 10, rule, seed, 0)
    return targets(split.test.targets)[0], trained(split), split.left_out


NEXT, NEXT_REPEATS = Rule("next-visit"), Rule("next-visit", repeats=True)
DATE, DATE_REPEATS = Rule("date", at=AT), Rule("date", at=AT, repeats=True)
BASKET, BASKET_REPEATS = Rule("basket"), Rule("basket", repeats=True)
LAST = Rule("last-item")
RULES = [NEXT, NEXT_REPEATS, DATE, DATE_REPEATS, BASKET, BASKET_REPEATS, LAST]
named = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name + "+repeats" * rule.repeats)


# --- next-visit, by hand ----------------------------------------------------------------------------------


def test_the_new_items_of_the_last_visit_are_the_targets() -> None:
    assert split_one(NEXT, [(3, 10), (5, 20), (3, 20), (7, 20)]) == ([5, 7], [0], 1)


def test_a_visit_of_repeats_is_not_tested_and_left_out() -> None:
    """Item 5 is the last new one; its repeat later is neither for training nor for serving."""
    assert split_one(NEXT, [(3, 10), (5, 20), (3, 30)]) == ([5], [0], 1)


def test_repeated_rows_of_a_target_belong_to_the_target() -> None:
    assert split_one(NEXT, [(3, 10), (5, 20), (5, 20), (5, 30)]) == ([5], [0], 0)


def test_a_shopper_with_one_visit_trains_and_is_not_tested() -> None:
    assert split_one(NEXT, [(3, 10), (5, 10)]) == ([], [0, 1], 0)
    assert split_one(NEXT, [(3, 10), (3, 20)]) == ([], [0, 1], 0)
    assert split_one(NEXT_REPEATS, [(3, 10), (5, 10)]) == ([], [0, 1], 0)


def test_with_repeats_the_whole_last_visit_is_the_test() -> None:
    assert split_one(NEXT_REPEATS, [(3, 10), (5, 20), (3, 30)]) == ([3], [0, 1], 0)
    assert split_one(NEXT_REPEATS, [(3, 10), (5, 20), (3, 20)]) == ([3, 5], [0], 0)


# --- date, by hand ----------------------------------------------------------------------------------------


def test_events_after_the_date_are_the_test() -> None:
    """The instant of the date itself counts as after it."""
    assert split_one(DATE, [(3, 0), (4, 1), (5, 2), (3, 3), (6, 3)]) == ([5, 6], [0, 1], 1)
    assert split_one(DATE_REPEATS, [(3, 0), (4, 1), (5, 2), (3, 3), (6, 3)]) == ([3, 5, 6], [0, 1], 0)


def test_a_shopper_with_one_event_before_the_date_trains() -> None:
    assert split_one(DATE, [(3, 0)]) == ([], [0], 0)


def test_shoppers_first_seen_after_the_date_are_separate() -> None:
    """Shopper 1 has items 0 and 1 at 2, item 0 again at 3, and 1 and 2 at 4: 2, 0 and 1 items are new."""
    rows = [(0, 3, 0), (1, 0, 2), (1, 1, 2), (1, 0, 3), (1, 1, 4), (1, 2, 4), (3, 4, 9)]
    split = make_split(dataset(rows, 4), DATE)
    assert trained(split) == [0]
    assert targets(split.test.targets) == [[], [], [], []]
    first, later = split.unseen[FIRST_VISIT], split.unseen[LATER_VISITS]
    assert targets(first.targets) == [[0, 1], [4]]
    assert first.history.counts.tolist() == [0, 0], "before a first visit nothing is known"
    assert targets(later.targets) == [[2]]
    assert later.history.items.tolist() == [0, 1, 0]
    with_repeats = make_split(dataset(rows, 4), DATE_REPEATS).unseen
    assert targets(with_repeats[FIRST_VISIT].targets) == [[0, 1], [4]]
    assert targets(with_repeats[LATER_VISITS].targets) == [[0], [1, 2]]
    assert with_repeats[LATER_VISITS].history.counts.tolist() == [2, 3]


def test_only_the_split_by_date_has_unseen_shoppers() -> None:
    for rule in RULES:
        split = make_split(dataset([(0, 1, 0), (0, 2, 1), (1, 3, 5)], 2), rule)
        assert bool(split.unseen) == (rule.name == "date")


# --- basket and last-item, by hand ------------------------------------------------------------------------


def test_half_of_the_last_visit_is_given_and_one_new_item_is_the_target() -> None:
    """Items 1 … 4 are bought at once: one is the target; of the others two are given and one is left out."""
    history = [(9, 10), (1, 20), (2, 20), (3, 20), (4, 20)]
    found, rows, left_out = split_one(BASKET, history)
    assert len(found) == 1
    assert rows[0] == 0
    assert len(rows) == 3
    assert left_out == 1
    assert found[0] not in [history[row][0] for row in rows]


def test_an_item_bought_before_is_not_the_target_of_a_basket() -> None:
    for seed in range(20):
        assert split_one(BASKET, [(3, 10), (3, 20), (5, 20)], seed) == ([5], [0, 1], 0)
    seen = {split_one(BASKET_REPEATS, [(3, 10), (3, 20), (5, 20)], seed)[0][0] for seed in range(20)}
    assert seen == {3, 5}


def test_the_basket_is_the_last_visit_that_can_be_completed() -> None:
    """A visit of one item, or without a new item, cannot be completed; later visits do not train."""
    found, rows, left_out = split_one(BASKET, [(1, 10), (2, 10), (3, 20), (1, 30), (2, 30)])
    assert found[0] in (1, 2)
    assert len(rows) == 1
    assert left_out == 2  # item 3, and the given one when bought again
    assert split_one(BASKET, [(1, 10), (2, 20)]) == ([], [0, 1], 0)


def test_the_given_half_is_drawn_from_new_and_old_items() -> None:
    """Items 1 and 2 are new, 7 and 8 are not: one new item is the target, two of the others are given."""
    history = [(7, 10), (8, 10), (1, 20), (2, 20), (7, 20), (8, 20)]
    given = [split_one(BASKET, history, seed)[1] for seed in range(300)]
    assert all(len(rows) == 4 for rows in given)
    with_new = sum(bool({2, 3} & set(rows)) for rows in given)
    assert abs(with_new - 200) < 6 * (300 * 2 / 9) ** 0.5


def test_last_item_holds_out_one_new_item_and_the_rest_of_its_visit_trains() -> None:
    assert split_one(LAST, [(3, 10), (5, 20), (3, 20), (4, 30), (4, 40), (3, 50)]) == ([4], [0, 1, 2], 1)
    found, rows, _ = split_one(LAST, [(3, 10), (5, 20), (6, 20)])
    assert found[0] in (5, 6)
    assert rows == [0, 1 if found == [6] else 2]


def test_shoppers_with_fewer_than_two_items_train_and_are_not_tested() -> None:
    assert split_one(LAST, [(3, 10), (3, 20)]) == ([], [0, 1], 0)


def test_without_times_one_item_is_drawn() -> None:
    data = dataset([(d, item, 0) for d in range(400) for item in (0, 1, 4)], 400, timed=False)
    rule = rule_for(data, None)
    assert (rule.name, rule.timed, rule.published) == ("last-item", False, False)
    split = make_split(data, rule)
    assert split.train.counts.tolist() == [2] * 400
    counts = np.bincount(split.test.targets.items, minlength=5)
    assert counts[[2, 3]].tolist() == [0, 0]
    assert (abs(counts[[0, 1, 4]] - 400 / 3) < 6 * (400 * 2 / 9) ** 0.5).all()


def test_a_published_test_is_used_unchanged() -> None:
    published = PublishedTest(np.array([4, -1], dtype=np.int32), np.full((2, 99), 7, dtype=np.int32))
    data = dataset([(0, 1, 0), (0, 2, 0), (1, 3, 0)], 2, 10, published, timed=False)
    rule = rule_for(data, None)
    split = make_split(data, rule)
    assert rule.published
    assert rule.sentence.startswith("Published test")
    assert split.train is data.events
    assert targets(split.test.targets) == [[4], []]
    assert split.test.negatives.shape == (2, 1, SAMPLED)
    assert (split.test.negatives_of(np.array([1])) == 7).all()
    assert split.left_out == 0
    validation = validation_split(split, 10)
    assert not validation.rule.published
    assert validation.test.targets.counts.tolist() == [1, 0]
    assert validation.test.targets.items[0] in (1, 2)


# --- Each rule against a plain loop -----------------------------------------------------------------------


def keyed_draw(seed: int, device: int, item: int) -> float:
    """Compute SplitMix64's finaliser with Python's integers."""
    mixed = seed
    for part in (device, item):
        mixed = (mixed * 0x9E3779B97F4A7C15 + part + 1) % 2**64
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
    return (mixed >> 11) / 2**53


def visits_of(rows: Sequence[Row], device: int) -> list[list[tuple[int, int]]]:
    """Return visits, oldest first, as lists of (row, item)."""
    own = [(time, number, item) for number, (d, item, time) in enumerate(rows) if d == device]
    instants = sorted({time for time, _, _ in own})
    return [[(number, item) for time, number, item in own if time == instant] for instant in instants]


def new_in(visits: list[list[tuple[int, int]]], place: int) -> set[int]:
    before = {item for visit in visits[:place] for _, item in visit}
    return {item for _, item in visits[place]} - before


def rows_in(visits: list[list[tuple[int, int]]]) -> set[int]:
    return {number for visit in visits for number, _ in visit}


Answer = tuple[set[int], set[int]]  # targets, rows that train


def next_visit_loop(rows: Sequence[Row], device: int, repeats: bool) -> Answer:
    visits = visits_of(rows, device)
    possible = [place for place in range(len(visits)) if repeats or new_in(visits, place)]
    if not possible or possible[-1] == 0:
        return set(), rows_in(visits)
    last = possible[-1]
    wanted = {item for _, item in visits[last]} if repeats else new_in(visits, last)
    return wanted, rows_in(visits[:last])


def date_loop(rows: Sequence[Row], device: int, repeats: bool) -> Answer:
    before = {number for number, (d, _, time) in enumerate(rows) if d == device and time < AT}
    held = {rows[number][1] for number in before}
    since = {item for d, item, time in rows if d == device and time >= AT}
    return (since if repeats else since - held) if before else set(), before


def basket_loop(rows: Sequence[Row], device: int, repeats: bool) -> Answer:
    visits = visits_of(rows, device)
    inside = [{item for _, item in visit} for visit in visits]
    possible = [k for k in range(len(visits)) if len(inside[k]) >= 2 and (repeats or new_in(visits, k))]
    if not possible:
        return set(), rows_in(visits)
    last = possible[-1]
    by_lot = sorted(inside[last], key=lambda item: keyed_draw(SEED, device, item))
    target = next(item for item in by_lot if repeats or item in new_in(visits, last))
    others = sorted(inside[last] - {target}, key=lambda item: keyed_draw(SEED, device, item + BEYOND_ITEMS))
    shown = others[: (len(others) + 1) // 2]
    return {target}, rows_in(visits[:last]) | {number for number, item in visits[last] if item in shown}


def last_item_loop(rows: Sequence[Row], device: int, repeats: bool) -> Answer:
    visits = visits_of(rows, device)
    if len({item for visit in visits for _, item in visit}) < 2:
        return set(), rows_in(visits)
    last = max(place for place in range(len(visits)) if new_in(visits, place))
    target = min(new_in(visits, last), key=lambda item: keyed_draw(SEED, device, item))
    return {target}, {number for visit in visits[: last + 1] for number, item in visit if item != target}


SEED = 3
LOOPS: dict[str, Callable[[Sequence[Row], int, bool], Answer]] = {
    "next-visit": next_visit_loop,
    "date": date_loop,
    "basket": basket_loop,
    "last-item": last_item_loop,
}


@named
@given(rows=rows_strategy)
def test_a_split_equals_that_of_a_plain_loop(rule: Rule, rows: list[Row]) -> None:
    split = make_split(dataset(rows, 4), rule, SEED)
    answers = [LOOPS[rule.name](rows, device, rule.repeats) for device in range(4)]
    assert targets(split.test.targets) == [sorted(wanted) for wanted, _ in answers]
    assert trained(split) == sorted(number for _, numbers in answers for number in numbers)
    used = {number for number, (device, item, _) in enumerate(rows) if item in answers[device][0]}
    assert split.left_out == len(rows) - len(set(trained(split)) | used)
    assert split.test.history is split.train


@named
@given(rows=rows_strategy)
def test_nothing_of_the_test_trains(rule: Rule, rows: list[Row]) -> None:
    """No target is among the training items unless repeats count, and all training events are in the data."""
    data = dataset(rows, 4)
    split = make_split(data, rule)
    assert split.train.num_devices == split.test.targets.num_devices == 4
    for device, own in enumerate(targets(split.test.targets)):
        known = set(split.train.span(device, device + 1).items.tolist())
        assert rule.repeats or not known & set(own)
        assert not own or known, "a tested shopper must have a history"


@named
@given(rows=rows_strategy)
def test_negatives_are_never_items_of_the_shopper(rule: Rule, rows: list[Row]) -> None:
    split = make_split(dataset(rows, 4), rule)
    for device in range(4):
        drawn = split.test.negatives_of(np.array([device]))
        had = {item for d, item, _ in rows if d == device}
        for one in drawn[0]:
            assert sorted(one[one != NONE].tolist()) == sorted(set(range(ITEMS)) - had)


@pytest.mark.slow
@named
@given(rows=rows_strategy, random=st.randoms(use_true_random=False))
def test_shuffled_rows_give_the_same_split(rule: Rule, rows: list[Row], random: object) -> None:
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = (
        make_split(replace(dataset(each, 4), events=unweighted(each)), rule) for each in (rows, mixed)
    )
    holdouts = [(one.test, other.test), *((one.unseen[name], other.unseen[name]) for name in one.unseen)]
    for first, second in holdouts:
        assert first.targets.offsets.tobytes() == second.targets.offsets.tobytes()
        assert first.targets.items.tobytes() == second.targets.items.tobytes()
        assert first.negatives.tobytes() == second.negatives.tobytes()
        for name in ("offsets", "items", "times"):
            assert getattr(first.history, name).tobytes() == getattr(second.history, name).tobytes()
    assert one.left_out == other.left_out


def unweighted(rows: Sequence[Row]) -> Events:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Events.from_columns(*columns.T, np.ones(len(rows)), 4)


@pytest.mark.slow
@named
@given(rows=rows_strategy, other=rows_strategy)
def test_a_shoppers_split_does_not_depend_on_other_shoppers(
    rule: Rule, rows: list[Row], other: list[Row]
) -> None:
    """Shopper 0's training events and targets are the same, whatever the other shoppers do."""
    own = [row for row in rows if row[0] == 0]
    found = []
    for rest in (rows, other):
        split = make_split(dataset([*own, *(row for row in rest if row[0] != 0)], 4), rule)
        span = split.train.span(0, 1)
        found.append((targets(split.test.targets)[0], span.items.tolist(), span.times.tolist()))
    assert found[0] == found[1]


# --- The effect of one stored event -----------------------------------------------------------------------


def differing_training_events(rule: Rule, rows: Sequence[Row], more: Row) -> int:
    """Return how many training events differ between the splits with and without one more event."""
    held = []
    for each in (rows, [*rows, more]):
        train = make_split(dataset(each, 4), rule).train
        columns = (train.devices, train.items, train.times)
        held.append(Counter(zip(*(column.tolist() for column in columns), strict=True)))
    return ((held[0] - held[1]) + (held[1] - held[0])).total()


@pytest.mark.slow
@given(rows_strategy, st.tuples(st.integers(0, 3), st.integers(0, ITEMS - 1), st.integers(0, 4)))
def test_by_date_one_more_event_changes_one_training_event_at_most(rows: list[Row], more: Row) -> None:
    for rule in (DATE, DATE_REPEATS):
        assert differing_training_events(rule, rows, more) == (more[2] < AT)


def test_by_next_visit_one_more_event_can_change_a_whole_visit() -> None:
    rows = [(0, 1, 1), (0, 2, 2), (0, 3, 2)]
    assert differing_training_events(NEXT, rows, (0, 4, 3)) == 2


# --- Keyed draws ------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**63 - 1), st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)), max_size=5)
)
def test_keyed_draws_equal_those_of_python_integers(seed: int, pairs: list[tuple[int, int]]) -> None:
    """Therefore each draw depends only on the seed, the device and the item."""
    devices, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    assert keyed_draws(seed, devices, items).tolist() == [keyed_draw(seed, *pair) for pair in pairs]


def test_keyed_draws_are_uniform() -> None:
    """Draws of neighbouring devices, items and seeds are counted in 64 cells, and no two are equal.

    χ² with 63 degrees of freedom exceeds 130 by chance less than once in 10⁶.
    """
    grid = np.arange(200)
    devices, items = (each.ravel() for each in np.meshgrid(grid, grid))
    for seed in (0, 1, 2**62):
        draws = keyed_draws(seed, devices, items)
        assert len(np.unique(draws)) == len(draws)
        for of_two in (
            draws,
            (draws + keyed_draws(seed + 1, devices, items)) % 1,
            (draws[1:] - draws[:-1]) % 1,
        ):
            counts = np.bincount((of_two * 64).astype(int), minlength=64)
            assert ((counts - len(of_two) / 64) ** 2 / (len(of_two) / 64)).sum() < 130


def test_every_new_item_of_the_visit_is_equally_likely() -> None:
    rows = [(d, item, time) for d in range(3000) for item, time in ((0, 1), (1, 2), (3, 2), (4, 2))]
    for rule in (LAST, BASKET):
        items = make_split(dataset(rows, 3000), rule, most=1).test.targets.items
        counts = np.bincount(items, minlength=5)
        assert counts[[0, 2]].tolist() == [0, 0]
        assert (abs(counts[[1, 3, 4]] - 1000) < 6 * (3000 * 2 / 9) ** 0.5).all()


# --- Validation: the same rule, applied to the training events --------------------------------------------


def test_validation_by_hand() -> None:
    history = [(0, 3, 10), (0, 5, 20), (0, 3, 30), (0, 6, 40), (0, 5, 50), (0, 7, 60), (0, 3, 70)]
    for rule, test, validation, left_out in (
        (NEXT, [7], [6], 1),
        (NEXT_REPEATS, [3], [7], 0),
        (LAST, [7], [6], 1),
    ):
        split = make_split(dataset(history, 1, 10), rule)
        earlier = validation_split(split, 10)
        assert targets(split.test.targets) == [test]
        assert targets(earlier.test.targets) == [validation]
        assert earlier.left_out == left_out


def test_the_validation_date_leaves_the_same_share_before_it() -> None:
    """With an event each on ten days from noon: .8 of ten are before day 8, and .8 of eight before day 6."""
    rows = [(0, day % 5, day * DAY + DAY // 2) for day in range(10)]
    data = dataset(rows, 1)
    rule = rule_for(data, "date")
    assert rule.at == 7 * DAY
    assert rule_for(data, "date", 0.5).at == 4 * DAY
    split = make_split(data, rule)
    earlier = validation_split(split, ITEMS)
    assert earlier.rule.at == 4 * DAY
    assert trained(earlier) == [0, 1, 2, 3]
    half, dated = (make_split(data, rule_for(data, "date", at)) for at in (0.5, "1970-01-05"))
    assert half.rule == dated.rule, "a date that was found is stored as a date"
    assert validation_split(half, ITEMS).rule.at == validation_split(dated, ITEMS).rule.at == 2 * DAY


@pytest.mark.slow
@named
@given(rows=rows_strategy)
def test_validation_does_not_depend_on_the_test(rule: Rule, rows: list[Row]) -> None:
    """All of it, negatives included, is what the same rule gives for the training events alone."""
    split = make_split(dataset(rows, 4), rule)
    alone = replace(split, test=replace(split.test, targets=Targets.none(4)))
    one, other = validation_split(split, ITEMS, seed=3), validation_split(alone, ITEMS, seed=3)
    assert trained(one) == trained(other)
    assert targets(one.test.targets) == targets(other.test.targets)
    assert np.array_equal(one.test.negatives, other.test.negatives)
    assert set(trained(one)) <= set(trained(split))
    for device, own in enumerate(targets(one.test.targets)):
        assert set(own) <= set(split.train.span(device, device + 1).items.tolist())


def test_validation_draws_negatives_for_as_many_shoppers_as_the_test() -> None:
    rows = [(d, k, k) for d in range(40) for k in range(4)]
    split = make_split(dataset(rows, 40, 300), NEXT, most=10)
    validation = validation_split(split, 300)
    assert validation.test.negatives.shape == split.test.negatives.shape == (10, DRAWS, SAMPLED)
    assert np.array_equal(split.test.sample, split.test.tested(10))
    assert np.array_equal(validation.test.sample, validation.test.tested(10))


def test_validation_may_test_more_than_the_test_does() -> None:
    """By date 2 of 12 are tested, by the validation date all: five are requested and get negatives."""
    rows = [(d, k, k * DAY) for d in range(12) for k in range(3)] + [(d, 4, 9 * DAY) for d in range(2)]
    split = make_split(dataset(rows, 12, 300), Rule("date", at=8 * DAY), most=5)
    validation = validation_split(split, 300)
    assert (len(split.test.tested(5)), len(validation.test.tested(5))) == (2, 5)
    drawn = validation.test.negatives_of(validation.test.tested(5))
    assert drawn.shape == (5, DRAWS, SAMPLED)


def test_negatives_of_shoppers_without_draws_are_refused() -> None:
    rows = [(d, k, k) for d in range(40) for k in range(4)]
    split = make_split(dataset(rows, 40, 300), NEXT, most=10)
    split.test.negatives_of(split.test.tested(10))
    for wrong in (split.test.tested(11), split.test.sample + 1, np.array([39])):
        with pytest.raises(ValueError, match="no negatives were drawn"):
            split.test.negatives_of(wrong)


# --- The choice of the rule -------------------------------------------------------------------------------

TIMED = dataset([(0, 1, DAY), (0, 2, 3 * DAY), (0, 3, 3 * DAY), (1, 1, 2 * DAY), (1, 2, 9 * DAY)], 2)
UNTIMED = replace(TIMED, times_known=False)


def test_the_default_is_by_date_if_times_are_known() -> None:
    assert rule_for(TIMED, None).name == "date"
    assert rule_for(UNTIMED, None).name == "last-item"


@pytest.mark.parametrize("at", ["1970-01-04", "1970-01-04T18:30", 0.5, "0.5"])
def test_a_date_is_rounded_to_midnight(at: str | float) -> None:
    """Two of the five events are before the start of day 3."""
    rule = rule_for(TIMED, "date", at)
    assert rule.at == 3 * DAY
    assert rule.date == "1970-01-04"
    assert "the model trains on events before 1970-01-04" in rule.sentence


@pytest.mark.parametrize(
    ("data", "name", "at", "repeats", "message"),
    [
        (UNTIMED, "date", None, False, "--split date needs times, and hand has none: use --split last-item"),
        (UNTIMED, "next-visit", None, False, "--split next-visit needs times"),
        (UNTIMED, "basket", None, False, "--split basket needs times"),
        (UNTIMED, None, "1970-01-04", False, "--at is for --split date, and this is --split last-item"),
        (
            TIMED,
            "next-visit",
            "1970-01-04",
            False,
            "--at is for --split date, and this is --split next-visit",
        ),
        (TIMED, "last-item", None, True, "--repeats include is for --split date, next-visit or basket"),
        (TIMED, "date", "soon", False, "--at soon is not a date: write 2025-09-01, or a fraction"),
        (TIMED, "date", "2025-13-01", False, "--at 2025-13-01 is not a date"),
        (TIMED, "date", 0.0, False, "--at 0 must be between 0 and 1, or a date such as 2025-09-01"),
        (TIMED, "date", "80", False, "--at 80 must be between 0 and 1"),
        (TIMED, "date", float("nan"), False, "--at nan must be between 0 and 1"),
        (TIMED, "date", "1970-01-01", False, "nothing was bought before 1970-01-01: use another --at"),
        (TIMED, "date", "1971-01-01", False, "nothing was bought after 1971-01-01: use another --at"),
        (dataset([], 2), "date", None, False, "nothing was bought before 1970-01-01"),
    ],
)
def test_an_impossible_rule_is_refused_in_one_line(
    data: Dataset, name: str | None, at: str | float | None, repeats: bool, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        rule_for(data, name, at, repeats=repeats)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_every_rule_is_described_in_one_sentence() -> None:
    rules = [*RULES, Rule("last-item", timed=False), Rule("last-item", published=True)]
    assert {rule.name for rule in rules} == set(SPLITS)
    sentences = [rule.sentence for rule in rules]
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in sentences)
    assert len(set(sentences)) >= len(sentences) - 1  # the sentence of basket does not mention repeats


# --- Nothing to split -------------------------------------------------------------------------------------


@named
@pytest.mark.parametrize("devices", [0, 2])
def test_a_data_set_without_events_can_be_split(rule: Rule, devices: int) -> None:
    split = make_split(dataset([], devices), rule)
    assert split.test.targets.num_devices == split.train.num_devices == devices
    assert len(split.test.tested()) == len(split.train) == split.left_out == 0


# --- Negatives --------------------------------------------------------------------------------------------


def test_negatives_are_distinct_never_bought_and_complete() -> None:
    generator = np.random.default_rng(0)
    rows = [(int(d), int(i), 0) for d, i in generator.integers([40, 250], size=(600, 2))]
    negatives = sample_negatives(events_of(rows, 40), 250, 0)
    assert negatives.shape == (40, DRAWS, SAMPLED)
    for device in range(40):
        bought = {item for d, item, _ in rows if d == device}
        for one in negatives[device]:
            assert len(set(one.tolist())) == 99
            assert set(one.tolist()) <= set(range(250)) - bought


def test_negatives_depend_on_the_seed_and_differ_between_draws() -> None:
    events = events_of([(0, 0, 1), (0, 3, 2), (1, 5, 1)], 2)
    one, same, other = (sample_negatives(events, 500, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert len({tuple(sorted(drawn)) for drawn in one.reshape(-1, 99).tolist()}) == 2 * DRAWS


def test_negatives_are_uniform() -> None:
    """400 shoppers bought item 0; in five draws, each of the other 149 items has chance 99 / 149.

    Each item is within 6 standard deviations; with a fresh seed false alarms are below 149 · 2e-9.
    """
    negatives = sample_negatives(events_of([(d, 0, 1) for d in range(400)], 400), 150, seed=5)
    counts = np.bincount(negatives[negatives != NONE], minlength=150)
    assert counts[0] == 0
    chance = 99 / 149
    limit = 6 * (400 * DRAWS * chance * (1 - chance)) ** 0.5
    assert (abs(counts[1:] - 400 * DRAWS * chance) < limit).all()


@pytest.mark.parametrize("free", [0, 1, 98, 99, 100, 101])
def test_negatives_are_all_items_left_if_there_are_few(free: int) -> None:
    """Of 400 items 400 − `free` were bought; the negatives are 99 of the others, or all of them."""
    bought = np.random.default_rng(free).permutation(400)[free:].tolist()
    negatives = sample_negatives(events_of([(1, item, 1) for item in bought], 3), 400, 0)
    for one in negatives[1]:
        drawn = one[one != NONE].tolist()
        assert len(set(drawn)) == len(drawn) == min(free, 99)
        assert not set(drawn) & set(bought)
    assert (negatives[[0, 2]] != NONE).all(), "the neighbours can choose from all items"


@pytest.mark.parametrize("numbers", [1, 300, 299 * 7, 10**6])
def test_the_size_of_blocks_does_not_change_the_negatives(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(1)
    events = events_of([(int(d), int(i), 0) for d, i in generator.integers([20, 299], size=(400, 2))], 20)
    expected = sample_negatives(events, 299, 0)
    monkeypatch.setattr(terrycloth.experiments.evaluation.negatives, "BLOCK_NUMBERS", numbers)
    assert np.array_equal(sample_negatives(events, 299, 0), expected)
