"""Leave one out, by time: the last item bought that was not bought before is held out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.evaluation import NONE
from client.events import Events
from experiments.datasets.dataset import Dataset

SAMPLED_NEGATIVES = 99
BLOCK_NUMBERS = 2**24  # random numbers held at a time


@dataclass(frozen=True)
class Split:
    """train: what devices hold. held_out: int64 [devices], NONE for those who are not tested.

    negatives: int64 [n, 99], items that shoppers never bought, for the sampled protocol; NONE pads. sample:
    int64 [n], in order, the devices that they are of. later: events dropped because they came after the
    held-out purchase.
    """

    train: Events
    held_out: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]
    later: int

    def tested(self, most: int = 0) -> npt.NDArray[np.int64]:
        """Devices with an item held out; where they pass `most` (0: no limit), a fixed choice of them."""
        return tested_devices(self.held_out, most)

    def negatives_of(self, devices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[devices, 99], of devices in `sample`."""
        return self.negatives[np.searchsorted(self.sample, devices)]


def tested_devices(held_out: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """`Split.tested`, in order."""
    tested = np.flatnonzero(held_out != NONE)
    if 0 < most < len(tested):
        tested = np.sort(np.random.default_rng(0).permutation(tested)[:most])
    return tested


def leave_one_out(dataset: Dataset, seed: int = 0, most: int = 0) -> Split:
    """Hold out one item a shopper, or take the data set's own published test.

    The held-out item is the one whose first purchase is the latest; of purchases at one instant, the later
    row of the source counts as later. Training keeps what happened before it: all of the held-out item's
    events and any event after its first purchase are left out, so no model sees the future. Shoppers with
    fewer than two different items train and are not tested.

    most: negatives are drawn for so many tested shoppers, where there are more (0: for all shoppers).
    """
    events = dataset.events
    if dataset.held_out is not None:
        return Split(
            events,
            dataset.held_out.items.astype(np.int64),
            dataset.held_out.negatives.astype(np.int64),
            np.arange(events.num_devices),
            later=0,
        )
    return hold_out_last(events, len(dataset.catalogue), seed, most)


def validation_split(split: Split, num_items: int, seed: int = 0) -> Split:
    """One more item held out of each shopper's training events, by the rule of `leave_one_out`.

    What is chosen by it has seen nothing of the test: its events hold no held-out item, and a test item is to
    it one that a shopper never had. As many shoppers have negatives as in `split`.
    """
    events = split.train
    most = len(split.sample) if len(split.sample) < events.num_devices else 0
    return hold_out_last(events, num_items, seed, most)


def hold_out_last(events: Events, num_items: int, seed: int, most: int) -> Split:
    """The rule of `leave_one_out`, for events in time order."""
    devices = events.devices
    # Events are in time order, so the first row of each (device, item) is its first purchase.
    pairs = devices * num_items + events.items
    _, first_rows = np.unique(pairs, return_index=True)
    last_first = np.full(events.num_devices, NONE, dtype=np.int64)
    np.maximum.at(last_first, devices[first_rows], first_rows)
    different = np.bincount(devices[first_rows], minlength=events.num_devices)
    tested = different >= 2
    held_out = np.where(tested, np.append(events.items, NONE)[last_first], NONE).astype(np.int64)
    future = tested[devices] & (np.arange(len(events)) >= last_first[devices])
    sample = np.arange(events.num_devices)
    if 0 < most < events.num_devices:
        sample = tested_devices(held_out, most)
    negatives = sample_negatives(events.take(sample), num_items, seed)
    return Split(events.keep(~future), held_out, negatives, sample, int(future.sum() - tested.sum()))


def sample_negatives(events: Events, num_items: int, seed: int) -> npt.NDArray[np.int64]:
    """99 different items a shopper never had, uniformly: [devices, 99]; NONE where the catalogue has too few.

    events: all of the shoppers', the held-out ones included. Every item gets a random number, those the
    shopper had a larger one, and the least 99 are taken: exact, in blocks of shoppers.
    """
    generator = np.random.default_rng([seed, SAMPLED_NEGATIVES])
    num_devices, devices, items, starts = events.num_devices, events.devices, events.items, events.offsets
    drawn = np.full((num_devices, SAMPLED_NEGATIVES), NONE, dtype=np.int64)
    taken = min(SAMPLED_NEGATIVES, num_items)
    block = max(1, BLOCK_NUMBERS // num_items)
    for start in range(0, num_devices, block):
        stop = min(start + block, num_devices)
        numbers = generator.random((stop - start, num_items), dtype=np.float32)
        rows = slice(starts[start], starts[stop])
        numbers[devices[rows] - start, items[rows]] = 2.0
        least = np.argpartition(numbers, taken - 1, axis=1)[:, :taken]
        free = np.take_along_axis(numbers, least, axis=1) < 1.0
        drawn[start:stop, :taken] = np.where(free, least, NONE)
    return drawn
