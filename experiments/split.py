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

    negatives: int64 [devices, 99], items the shopper never bought, for the sampled protocol; NONE pads.
    later: events dropped because they came after the held-out purchase.
    """

    train: Events
    held_out: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    later: int


def leave_one_out(dataset: Dataset, seed: int = 0) -> Split:
    """Hold out one item a shopper, or take the data set's own published test.

    The held-out item is the one whose first purchase is the latest; of purchases at one instant, the later
    row of the source counts as later. Training keeps what happened before it: all of the held-out item's
    events and any event after its first purchase are left out, so no model sees the future. Shoppers with
    fewer than two different items train and are not tested.
    """
    events = dataset.events
    if dataset.held_out is not None:
        return Split(
            events,
            dataset.held_out.items.astype(np.int64),
            dataset.held_out.negatives.astype(np.int64),
            later=0,
        )
    devices = events.devices
    # Events are in time order, so the first row of each (device, item) is its first purchase.
    pairs = devices * len(dataset.catalogue) + events.items
    _, first_rows = np.unique(pairs, return_index=True)
    last_first = np.full(events.num_devices, NONE, dtype=np.int64)
    np.maximum.at(last_first, devices[first_rows], first_rows)
    different = np.bincount(devices[first_rows], minlength=events.num_devices)
    tested = different >= 2
    held_out = np.where(tested, np.append(events.items, NONE)[last_first], NONE).astype(np.int64)
    future = tested[devices] & (np.arange(len(events)) >= last_first[devices])
    negatives = sample_negatives(pairs, events.num_devices, len(dataset.catalogue), seed)
    return Split(events.keep(~future), held_out, negatives, later=int(future.sum() - tested.sum()))


def sample_negatives(
    pairs: npt.NDArray[np.int64], num_devices: int, num_items: int, seed: int
) -> npt.NDArray[np.int64]:
    """99 different items a shopper never had, uniformly: [devices, 99]; NONE where the catalogue has too few.

    pairs: device · num_items + item of every event, the held-out ones included. Every item gets a random
    number, those the shopper had a larger one, and the least 99 are taken: exact, in blocks of shoppers.
    """
    generator = np.random.default_rng([seed, SAMPLED_NEGATIVES])
    devices, items = np.divmod(np.unique(pairs), num_items)
    starts = np.searchsorted(devices, np.arange(num_devices + 1))
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
