"""Rows of a file are grouped into visits by order, day or time, and how informative the order of rows is."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.experiments.datasets.import_report import FileOrder, ImportReport
from terrycloth.experiments.datasets.visits import (
    DAY,
    NO_ORDER,
    Lines,
    events_in_visits,
    file_order,
    item_ranks,
    order_numbers,
    orders_of_several,
    visit_seconds,
)

Row = tuple[int, int, int, int]  # device, item, seconds, order
rows = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-DAY, 2 * DAY), st.integers(NO_ORDER, 3)),
    max_size=12,
)


def lines_of(found: list[Row], orders: bool = True) -> Lines:
    device, item, seconds, order = np.array(found, dtype=np.int64).reshape(-1, 4).T
    return Lines(device, item, seconds, np.ones(len(found)), order if orders else None)


def ids(*names: str) -> pd.Series:
    return pd.Series(names, dtype=str)


@given(rows)
def test_an_order_has_the_time_of_its_first_row(found: list[Row]) -> None:
    for visit in ("instant", "day"):
        expected = [
            min(other[2] for other in found if (other[0], other[3]) == (device, order))
            if order != NO_ORDER
            else seconds
            for device, _, seconds, order in found
        ]
        assert visit_seconds(lines_of(found), visit).tolist() == expected


@given(rows)
def test_a_day_is_a_calendar_day_in_utc(found: list[Row]) -> None:
    lines = lines_of(found, orders=False)
    assert visit_seconds(lines, "instant").tolist() == [row[2] for row in found]
    begun = visit_seconds(lines, "day")
    assert (begun % DAY == 0).all()
    assert ((lines.seconds - begun >= 0) & (lines.seconds - begun < DAY)).all()


def test_order_ids_become_arbitrary_numbers() -> None:
    numbers = order_numbers(pd.Series(["b", " a", None, "b", "", "a"], dtype="string"))
    assert numbers.tolist() == [0, 1, NO_ORDER, 0, NO_ORDER, 1]
    assert order_numbers(pd.Series([7.0, None, 8.0])).tolist() == [0, NO_ORDER, 1]


def test_the_share_of_order_ids_with_several_shoppers() -> None:
    found = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 1), (2, 0, 0, 3), (1, 0, 0, NO_ORDER)]
    assert orders_of_several(lines_of(found)) == pytest.approx(1 / 3)
    assert orders_of_several(lines_of([(0, 0, 0, NO_ORDER)])) == 0.0


def test_without_times_a_shopper_has_one_visit() -> None:
    events = lines_of([(1, 3, 9, 0), (1, 2, 5, 1)]).without_times(3)
    assert events.times.tolist() == [0, 0]
    assert events.items.tolist() == [2, 3]
    assert events.counts.tolist() == [0, 2, 0]


# --- The order of rows in the file ------------------------------------------------------------------------


def order_of(found: list[Row], *names: str) -> FileOrder:
    lines = lines_of(found, orders=False)
    return file_order(lines, lines.seconds, ids(*names))


def test_visits_in_ascending_order_by_hand() -> None:
    """Of four visits three have several items; two of these ascend, and one has an item twice."""
    found = [
        (0, 0, 1, 0), (0, 1, 2, 0), (1, 1, 1, 0), (0, 2, 2, 0),
        (1, 1, 1, 0), (1, 2, 1, 0), (2, 2, 1, 0), (2, 0, 1, 0),
    ]  # fmt: skip
    order = order_of(found, "a", "b", "c")
    assert (order.visits, order.ascending) == (3, 2)
    assert order.by_chance == pytest.approx(1 / 2 + 1 / 3 + 1 / 2)


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4))
def test_the_number_expected_by_chance_is_the_mean_over_all_orders(items: list[int]) -> None:
    names = ("a", "b", "c", "d")
    found = [order_of([(0, item, 5, 0) for item in mixed], *names) for mixed in permutations(items)]
    assert sum(each.ascending for each in found) / len(found) == pytest.approx(found[0].by_chance)


def test_a_file_without_rows_has_no_order() -> None:
    assert order_of([], "a") == FileOrder(0, 0, 0.0)


def test_ids_of_digits_are_ordered_as_numbers() -> None:
    assert item_ranks(ids("10", "9", "100")).tolist() == [1, 0, 2]
    assert item_ranks(ids("10", "9", "100A")).tolist() == [0, 2, 1]


@pytest.mark.parametrize(("ascending", "noted"), [(True, True), (False, False)])
def test_a_note_warns_that_a_file_sorts_items_within_visits(ascending: bool, noted: bool) -> None:
    items = (0, 1, 2) if ascending else (2, 0, 1)
    found = [(0, item, visit, 0) for visit in range(30) for item in items]
    report = ImportReport("a test")
    events_in_visits(lines_of(found, orders=False), 1, ids("a", "b", "c"), "instant", report)
    assert report.file_order == FileOrder(30, 30 * ascending, pytest.approx(5.0))
    assert any("lists 100% of the visits with several items" in note for note in report.notes) == noted


def test_there_is_no_warning_for_few_visits() -> None:
    report = ImportReport("a test")
    events_in_visits(
        lines_of([(0, 0, 1, 0), (0, 1, 1, 0)], orders=False), 1, ids("a", "b"), "instant", report
    )
    assert report.notes == []
