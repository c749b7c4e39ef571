"""Columns of interactions are sorted once, then cut and renumbered without losing or mixing any row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.client.events import Events, take_rows

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
    """Return what each device holds, as plain lists."""
    held = []
    for device in range(events.num_devices):
        span = range(int(events.offsets[device]), int(events.offsets[device + 1]))
        held.append([(int(events.items[r]), int(events.times[r]), float(events.weights[r])) for r in span])
    return held


def test_the_newest_events_of_each_device_are_kept() -> None:
    devices, items, times = np.array([0, 0, 0, 2]), np.array([5, 6, 7, 8]), np.array([10, 30, 20, 1])
    events = Events.from_columns(devices, items, times, np.ones(4), 3)
    assert events.newest(2).items.tolist() == [7, 6, 8]
    assert events.newest(2).counts.tolist() == [2, 0, 1]
    assert events.newest(3) is events


def test_from_columns_by_hand():
    events = Events.from_columns(
        np.array([2, 0, 2, 0, 2]),
        np.array([9, 8, 7, 6, 5]),
        np.array([30, 20, 10, 20, 30]),
        np.array([1, 2, 3, 4, 5]),
        4,
    )
    assert baskets(events) == [
        [(6, 20, 4.0), (8, 20, 2.0)],  # events of equal time are sorted by item
        [],
        [(7, 10, 3.0), (5, 30, 5.0), (9, 30, 1.0)],
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
def test_from_columns_sorts_each_device_by_time_item_and_weight(found):
    expected = [
        sorted((row[1:] for row in found if row[0] == device), key=lambda row: (row[1], row[0], row[2]))
        for device in range(DEVICES)
    ]
    assert baskets(from_rows(found)) == expected


crowded = st.lists(  # few values, so that rows share devices, times, items and weights
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-1, 1), st.sampled_from([1.0, 2.0])),
    max_size=15,
)


@given(crowded, st.randoms(use_true_random=False))
def test_any_order_of_the_rows_gives_the_same_bytes(found, random):
    mixed = list(found)
    random.shuffle(mixed)
    one, other = from_rows(found), from_rows(mixed)
    for name in ("offsets", "items", "times", "weights"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_visits_by_hand():
    """Device 0 has two visits, 1 none, 2 one that begins when 0's last one does, and 3 three."""
    events = from_rows(
        [
            (0, 5, 10, 1.0), (0, 4, 10, 1.0), (0, 5, 20, 1.0), (2, 1, 20, 1.0), (2, 1, 20, 2.0),
            (3, 9, 3, 1.0), (3, 9, 1, 1.0), (3, 9, 2, 1.0),
        ]
    )  # fmt: skip
    assert events.visits.tolist() == [0, 0, 1, 0, 0, 0, 1, 2]
    assert events.later_visits.tolist() == [1, 1, 0, 0, 0, 2, 1, 0]


def test_visits_of_no_events():
    for devices in (0, 1, 3):
        events = from_rows([], devices)
        assert events.visits.tolist() == events.later_visits.tolist() == []


@given(crowded)
def test_visits_equal_those_of_a_plain_loop(found):
    events = from_rows(found)
    numbers, later = [], []
    for basket in baskets(events):
        instants = sorted({time for _, time, _ in basket})
        numbers += [instants.index(time) for _, time, _ in basket]
        later += [len(instants) - 1 - instants.index(time) for _, time, _ in basket]
    assert events.visits.tolist() == numbers
    assert events.later_visits.tolist() == later


@given(crowded, st.lists(st.integers(0, DEVICES - 1), max_size=6))
def test_visits_of_taken_devices_do_not_change(found, chosen):
    """A device has the same visits whatever devices are beside it, also in a slice mapped from disk."""
    events = from_rows(found)
    own = [events.span(device, device + 1).visits.tolist() for device in chosen]
    assert events.take(chosen).visits.tolist() == [visit for each in own for visit in each]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_take_rows_names_the_rows_of_each_device_in_turn(counts, data):
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=8))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    taken, found = take_rows(offsets, np.array(chosen, dtype=np.int64))
    expected = [list(range(offsets[device], offsets[device + 1])) for device in chosen]
    assert found.tolist() == [row for each in expected for row in each]
    assert [found[taken[k] : taken[k + 1]].tolist() for k in range(len(chosen))] == expected
    assert taken.dtype == found.dtype == np.int64


@given(rows, st.randoms(use_true_random=False))
def test_keep_removes_events_but_no_device(found, random):
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
def test_span_equals_take_of_a_range_without_a_copy(found, one, other):
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


def test_loaded_columns_are_memory_mapped_and_read_only(tmp_path):
    from_rows([(0, 1, 2, 3.0)]).save(tmp_path)
    loaded = Events.load(tmp_path)
    assert isinstance(loaded.items, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded.items[0] = 7
