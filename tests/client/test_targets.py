"""Held-out items are cut, renumbered and saved as events are, and checked against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.client.targets import Targets

DEVICES = 5
pairs = st.lists(st.tuples(st.integers(0, DEVICES - 1), st.integers(0, 6)), max_size=20)


def from_list(found: list[tuple[int, int]], num_devices: int = DEVICES) -> Targets:
    devices, items = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return Targets.from_pairs(devices, items, num_devices)


def lists(targets: Targets) -> list[list[int]]:
    """Return the targets of each device."""
    bounds = zip(targets.offsets[:-1], targets.offsets[1:], strict=True)
    return [targets.items[start:stop].tolist() for start, stop in bounds]


def test_from_pairs_by_hand():
    targets = from_list([(2, 9), (0, 4), (2, 1), (2, 9), (0, 3)], 4)
    assert lists(targets) == [[3, 4], [], [1, 9], []]
    assert (targets.num_devices, len(targets)) == (4, 4)
    assert targets.counts.tolist() == [2, 0, 2, 0]
    assert targets.devices.tolist() == [0, 0, 2, 2]
    assert targets.offsets.dtype == targets.items.dtype == np.int64


@given(pairs, st.randoms(use_true_random=False))
def test_duplicate_pairs_count_once_in_any_order(found, random):
    mixed = list(found)
    random.shuffle(mixed)
    expected = [sorted({item for device, item in found if device == d}) for d in range(DEVICES)]
    assert lists(from_list(found)) == lists(from_list(mixed)) == expected


def test_items_may_be_32_bit_integers():
    targets = Targets.from_pairs(np.array([70_000]), np.array([2**31 - 1], dtype=np.int32), 70_001)
    assert lists(targets)[70_000] == [2**31 - 1]


def test_no_targets():
    targets = Targets.none(3)
    assert lists(targets) == [[], [], []]
    assert lists(from_list([], 3)) == [[], [], []]
    assert (len(targets), targets.num_devices) == (0, 3)
    assert targets.offsets.dtype == targets.items.dtype == np.int64


@given(pairs, st.randoms(use_true_random=False))
def test_keep_removes_targets_but_no_device(found, random):
    targets = from_list(found)
    mask = np.array([random.random() < 0.5 for _ in range(len(targets))], dtype=bool)
    flags = iter(mask)
    assert lists(targets.keep(mask)) == [[item for item in own if next(flags)] for own in lists(targets)]


@given(pairs, st.lists(st.integers(0, DEVICES - 1), max_size=8))
def test_take_renumbers_in_the_order_given(found, chosen):
    targets = from_list(found)
    assert lists(targets.take(chosen)) == [lists(targets)[device] for device in chosen]


@given(pairs, st.integers(0, DEVICES), st.integers(0, DEVICES))
def test_span_equals_take_of_a_range_without_a_copy(found, one, other):
    start, stop = min(one, other), max(one, other)
    targets = from_list(found)
    cut = targets.span(start, stop)
    assert lists(cut) == lists(targets)[start:stop] == lists(targets.take(range(start, stop)))
    assert int(cut.offsets[0]) == 0
    if len(cut):
        assert np.shares_memory(cut.items, targets.items)


@given(found=pairs)
def test_save_and_load(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets") / "new"
    targets = from_list(found)
    targets.save(folder)
    loaded = Targets.load(folder)
    assert lists(loaded) == lists(targets)
    assert loaded.num_devices == DEVICES
    assert {file.name for file in folder.iterdir()} == {"offsets.npy", "items.npy"}


def test_loaded_targets_are_memory_mapped_and_read_only(tmp_path):
    from_list([(0, 1)]).save(tmp_path)
    loaded = Targets.load(tmp_path)
    assert isinstance(loaded.items, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded.items[0] = 7
