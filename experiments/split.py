"""Leave one out, by time: the last item bought that was not bought before is held out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.events import Events
from experiments.datasets.dataset import Dataset

NONE = -1  # a shopper without a held-out item
SAMPLED_NEGATIVES = 99


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
    held_out = np.where(tested, events.items[np.maximum(last_first, 0)], NONE).astype(np.int64)
    future = tested[devices] & (np.arange(len(events)) >= last_first[devices])
    negatives = sample_negatives(pairs, events.num_devices, len(dataset.catalogue), seed)
    return Split(events.keep(~future), held_out, negatives, later=int(future.sum() - tested.sum()))


def sample_negatives(
    pairs: npt.NDArray[np.int64], num_devices: int, num_items: int, seed: int
) -> npt.NDArray[np.int64]:
    """99 different items a shopper never had, uniformly: [devices, 99]; NONE where the catalogue has too few.

    pairs: device · num_items + item of every event, the held-out ones included. Rejection in rounds: what was
    bought, or drawn before, is drawn again; the rare shopper that it cannot serve is padded.
    """
    generator = np.random.default_rng([seed, 99])
    had = np.unique(pairs)
    base = np.arange(num_devices, dtype=np.int64)[:, None] * num_items
    drawn = np.full((num_devices, SAMPLED_NEGATIVES), NONE, dtype=np.int64)
    open_rows = np.arange(num_devices)
    for _ in range(64):
        block = drawn[open_rows]
        fresh = generator.integers(num_items, size=block.shape)
        block = np.where(block == NONE, fresh, block)
        wanted = base[open_rows] + block
        place = np.minimum(np.searchsorted(had, wanted), len(had) - 1)
        bought = had[place] == wanted
        order = np.argsort(block, axis=1, kind="stable")
        ranked = np.take_along_axis(block, order, axis=1)
        repeated = np.zeros_like(bought)
        np.put_along_axis(
            repeated, order, np.c_[np.zeros(len(block), bool), ranked[:, 1:] == ranked[:, :-1]], axis=1
        )
        drawn[open_rows] = np.where(bought | repeated, NONE, block)
        open_rows = open_rows[(drawn[open_rows] == NONE).any(axis=1)]
        if not len(open_rows):
            break
    return drawn
