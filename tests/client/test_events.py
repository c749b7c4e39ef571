"""Columns of interactions: sorted once, then cut and renumbered without losing or mixing any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.events import Events

DEVICES = 5
rows = st.lists(
    st.tuples(
        st.integers(0, DEVICES - 1),
        st.integers(0, 2**31 - 1),
        st.integers(-(2**40), 2**40),
        st.floats(2**-10, 2**10, width=32),
    ),
    max_size=25,
)


def from_rows(found: list[tuple[int, int, int, float]], num_devices: int = DEVICES) -> Events:
    devices, items, times, weights = ([row[column] for row in found] for column in range(4))
    return Events.from_columns(np.array(devices, dtype=np.int64), items, times, weights, num_devices)


def baskets(events: Events) -> list[list[tuple[int, int, float]]]:
    """What each device holds, as plain lists."""
    held = []
    for device in range(events.num_devices):
        span = range(int(events.offsets[device]), int(events.offsets[device + 1]))
        held.append([(int(events.items[r]), int(events.times[r]), float(events.weights[r])) for r in span])
    return held


def test_from_columns_by_hand():
    events = Events.from_columns(
        np.array([2, 0, 2, 0, 2]),
        np.array([9, 8, 7, 6, 5]),
        np.array([30, 20, 10, 20, 30]),
        np.array([1, 2, 3, 4, 5]),
        4,
    )
    assert baskets(events) == [
        [(8, 20, 2.0), (6, 20, 4.0)],  # of equal time: in the order given
        [],
        [(7, 10, 3.0), (9, 30, 1.0), (5, 30, 5.0)],
        [],
    ]
    assert events.offsets.tolist() == [0, 2, 2, 5, 5]
    assert events.counts.tolist() == [2, 0, 3, 0]
    assert events.devices.tolist() == [0, 0, 2, 2, 2]
    assert (events.num_devices, len(events)) == (4, 5)
    assert [events.offsets.dtype, events.items.dtype, events.times.dtype, events.weights.dtype] == [
        np.int64, np.int32, np.int64, np.float32,
    ]  # fmt: skip


@given(rows)
def test_from_columns_is_a_stable_sort(found):
    expected = [
        [row[1:] for row in sorted((row for row in found if row[0] == device), key=lambda row: row[2])]
        for device in range(DEVICES)
    ]
    assert baskets(from_rows(found)) == expected


@given(rows, st.randoms(use_true_random=False))
def test_keep_leaves_every_device(found, random):
    events = from_rows(found)
    mask = np.array([random.random() < 0.5 for _ in range(len(events))], dtype=bool)
    flags = iter(mask)
    expected = [[event for event in basket if next(flags)] for basket in baskets(events)]
    assert baskets(events.keep(mask)) == expected


@given(rows, st.lists(st.integers(0, DEVICES - 1), max_size=8))
def test_take_renumbers_in_the_order_given(found, chosen):
    events = from_rows(found)
    expected = [baskets(events)[device] for device in chosen]
    assert baskets(events.take(chosen)) == expected


@given(rows, st.integers(0, DEVICES), st.integers(0, DEVICES))
def test_span_is_take_of_neighbours_without_a_copy(found, one, other):
    start, stop = min(one, other), max(one, other)
    events = from_rows(found)
    cut = events.span(start, stop)
    assert baskets(cut) == baskets(events)[start:stop] == baskets(events.take(range(start, stop)))
    assert int(cut.offsets[0]) == 0
    if len(cut):
        assert np.shares_memory(cut.items, events.items)


@given(found=rows)
def test_save_and_load(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    events = from_rows(found)
    events.save(folder)
    loaded = Events.load(folder)
    assert baskets(loaded) == baskets(events)
    assert loaded.num_devices == DEVICES
    assert {file.name for file in folder.iterdir()} == {
        "offsets.npy", "items.npy", "times.npy", "weights.npy",
    }  # fmt: skip


def test_loading_reads_no_page_and_writes_none(tmp_path):
    from_rows([(0, 1, 2, 3.0)]).save(tmp_path)
    loaded = Events.load(tmp_path)
    assert isinstance(loaded.items, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded.items[0] = 7
