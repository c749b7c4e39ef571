"""What a round trains on: each shopper's items, and negatives drawn for them afresh from a pool.

Two pools, which differ by a shopper's targets. `clean`: all items that the shopper's training events do not
hold, which is all that a device can know. `leaky`: without the targets too, as the code that PFedRec,
GPFedRec and FedRAP share draws them ("all that this user never touched"). There the targets are, of all that
is ranked, the only items that are never a negative, and whoever counts negatives finds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terrycloth.experiments.evaluation.split import Split
from terrycloth.models.errors import UserError

CHUNK_NUMBERS = 2**20  # of the largest array of a chunk of devices, about: it shall stay in the cache

Integers = npt.NDArray[np.int64]
Protocol = Literal["clean", "leaky"]


@dataclass(frozen=True)
class Examples:
    """Of some devices in a round, positives and negatives together, padded.

    items: int64 [devices, longest]. labels: float32, the same shape, 1 for a positive. counts: int64
    [devices]; what is beyond a device's count is padding.
    """

    items: Integers
    labels: npt.NDArray[np.float32]
    counts: Integers

    def compact(self) -> tuple["Examples", "Rows"]:
        """The same with an item's slot in its device's rows instead of its number, and those rows."""
        devices = np.arange(len(self.items))[:, None]
        pairs, slots = np.unique((devices << 32) | self.items, return_inverse=True)
        of_device = pairs >> 32
        starts = np.searchsorted(of_device, devices[:, 0])
        places = np.arange(len(pairs)) - starts[of_device]
        rows = Rows(
            torch.from_numpy(of_device), torch.from_numpy(places), torch.from_numpy(pairs & 0xFFFFFFFF)
        )
        slots = slots.reshape(self.items.shape) - starts[:, None]
        return Examples(slots, self.labels, self.counts), rows

    def batches(self, size: int, generator: np.random.Generator) -> Iterator["Batch"]:
        """An epoch in an order of its own, `size` examples of each device at a time.

        Within a batch the order means nothing: where all fit in one, none is drawn.
        """
        order = np.broadcast_to(np.arange(self.items.shape[1]), self.items.shape)
        if self.items.shape[1] > size:
            keys = generator.random(self.items.shape, dtype=np.float32)
            keys[order >= self.counts[:, None]] = 2.0  # padding comes last
            order = np.argsort(keys, axis=1)
        for start in range(0, self.items.shape[1], size):
            places = order[:, start : start + size]
            held = np.clip(self.counts - start, 0, places.shape[1])  # of each device, in this batch
            present = np.arange(places.shape[1]) < held[:, None]
            yield Batch(
                torch.from_numpy(np.take_along_axis(self.items, places, axis=1)),
                torch.from_numpy(np.take_along_axis(self.labels, places, axis=1)),
                torch.from_numpy((present / np.maximum(held, 1)[:, None]).astype(np.float32)),
            )


@dataclass(frozen=True)
class Rows:
    """The rows of a table that some devices touch, one after the other: int64 each, [rows].

    devices: whose, in order. slots: their places on that device. items: of which.
    """

    devices: Tensor
    slots: Tensor
    items: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """values [rows, dim] as [devices, most rows, dim], zeros where a device has fewer."""
        shape = int(self.devices[-1]) + 1, int(self.slots.max()) + 1, values.shape[1]
        laid_out = torch.zeros(shape)
        laid_out[self.devices, self.slots] = values
        return laid_out

    def gather(self, laid_out: Tensor) -> Tensor:
        """What `spread` laid out: [rows, …]."""
        return laid_out[self.devices, self.slots]


@dataclass(frozen=True)
class Batch:
    """items: int64 [devices, batch]. labels: float32. weights: 1 / the device's batch; 0 for padding."""

    items: Tensor
    labels: Tensor
    weights: Tensor


class Shoppers:
    """Every shopper's positives, each item once, and the pool of its negatives."""

    def __init__(self, split: Split, num_items: int, protocol: Protocol) -> None:
        train = split.train
        self.num_items = num_items
        touched = np.zeros((train.num_devices, num_items), dtype=bool)
        touched[train.devices, train.items] = True
        self.counts: Integers = touched.sum(axis=1)  # positives of each device
        self.positives = np.nonzero(touched)[1]
        self.offsets: Integers = np.concatenate([[0], np.cumsum(self.counts)])
        if protocol == "leaky":
            touched[split.test.targets.devices, split.test.targets.items] = True
        self.pool = np.argsort(touched, axis=1, kind="stable").astype(np.int32)  # free items first
        self.pool_sizes: Integers = num_items - touched.sum(axis=1)
        if not self.pool_sizes.all():
            raise UserError("a shopper has every item there is: nothing is left to draw as a negative")

    @property
    def num_devices(self) -> int:
        """Those that hold nothing included."""
        return len(self.counts)

    def chunks(self, numbers_of_positive: int) -> Iterator[Integers]:
        """Devices that hold something, those with as much to do together, so that little is padded."""
        order = np.argsort(-self.counts, kind="stable")
        order = order[self.counts[order] > 0]
        start = 0
        while start < len(order):
            numbers = int(self.counts[order[start]]) * numbers_of_positive
            stop = start + max(1, CHUNK_NUMBERS // numbers)
            yield order[start:stop]
            start = stop

    def negatives(self, devices: Integers, each: int, generator: np.random.Generator) -> Integers:
        """`each` for every positive, with replacement: [devices, most positives, each]."""
        most = int(self.counts[devices].max(initial=0))
        drawn = generator.random((len(devices), most, each))
        places = (drawn * self.pool_sizes[devices, None, None]).astype(np.int64)
        return self.pool[devices[:, None, None], places].astype(np.int64)

    def draw(self, devices: Integers, each: int, generator: np.random.Generator) -> Examples:
        """A round's examples of some devices: `each` negatives beside every positive."""
        negatives = self.negatives(devices, each, generator)
        places = self.offsets[devices, None] + np.arange(negatives.shape[1])
        padded = np.append(self.positives, 0)[np.minimum(places, len(self.positives))]
        items = np.concatenate([padded[:, :, None], negatives], axis=2)
        labels = np.zeros(items.shape, dtype=np.float32)
        labels[:, :, 0] = 1.0
        shape = len(devices), items.shape[1] * items.shape[2]
        return Examples(items.reshape(shape), labels.reshape(shape), self.counts[devices] * (1 + each))
