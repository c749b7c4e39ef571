"""The training examples of a round: each shopper's items, and negatives drawn anew from a pool.

There are two kinds of pool, which differ in the shopper's targets. `clean` contains every item that is not in
the shopper's training events, which is all that a device can know. `leaky` also excludes the targets, as does
the code that PFedRec, GPFedRec and FedRAP share ("all that this user never touched"). With a leaky pool the
targets are the only ranked items that are never drawn as negatives, so counting negatives reveals them.
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

CHUNK_NUMBERS = 2**20  # about the size of a chunk's largest array, which should fit in the cache

Integers = npt.NDArray[np.int64]
Protocol = Literal["clean", "leaky"]


@dataclass(frozen=True)
class Examples:
    """The examples of some devices in a round, positives and negatives together, padded.

    items: int64 [devices, longest]. labels: float32 of the same shape, 1 for a positive and 0 for a negative.
    counts: int64 [devices], the number of examples of each device; entries beyond it are padding.
    """

    items: Integers
    labels: npt.NDArray[np.float32]
    counts: Integers

    def compact(self) -> tuple["Examples", "Rows"]:
        """Replace each item by its slot among its device's rows. Return these examples and the rows."""
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
        """Yield one epoch in a random order, in batches of `size` examples per device.

        The order within a batch does not matter, so no order is drawn if all examples fit in one batch.
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
    """The table rows that some devices use, as three int64 tensors [rows].

    devices: the device of each row, ascending. slots: the row's place on its device. items: the row's item.
    """

    devices: Tensor
    slots: Tensor
    items: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Arrange values [rows, dim] as [devices, most rows of a device, dim], padded with zeros."""
        shape = int(self.devices[-1]) + 1, int(self.slots.max()) + 1, values.shape[1]
        by_device = torch.zeros(shape)
        by_device[self.devices, self.slots] = values
        return by_device

    def gather(self, by_device: Tensor) -> Tensor:
        """Invert `spread`: return the values [rows, …] of an array [devices, most rows of a device, …]."""
        return by_device[self.devices, self.slots]


@dataclass(frozen=True)
class Batch:
    """A batch of every device; each tensor has the shape [devices, batch].

    items: int64. labels: float32. weights: float32, 1 / the size of the device's batch, and 0 for padding.
    """

    items: Tensor
    labels: Tensor
    weights: Tensor


class Shoppers:
    """The positives of every shopper, each item once, and the pools from which negatives are drawn.

    Raises UserError if a pool is empty.
    """

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
        self.pool = np.argsort(touched, axis=1, kind="stable").astype(np.int32)  # the pool's items first
        self.pool_sizes: Integers = num_items - touched.sum(axis=1)
        if not self.pool_sizes.all():
            raise UserError("a shopper has every item, so nothing is left to draw as a negative")

    @property
    def num_devices(self) -> int:
        """The number of devices, including those without events."""
        return len(self.counts)

    def chunks(self, numbers_of_positive: int) -> Iterator[Integers]:
        """Yield the devices with positives in chunks, ordered by their number of positives to limit padding.

        numbers_of_positive: how many numbers the largest array holds per positive.
        """
        order = np.argsort(-self.counts, kind="stable")
        order = order[self.counts[order] > 0]
        start = 0
        while start < len(order):
            numbers = int(self.counts[order[start]]) * numbers_of_positive
            stop = start + max(1, CHUNK_NUMBERS // numbers)
            yield order[start:stop]
            start = stop

    def negatives(self, devices: Integers, each: int, generator: np.random.Generator) -> Integers:
        """Draw `each` negatives per positive, with replacement: [devices, most positives, each]."""
        most = int(self.counts[devices].max(initial=0))
        drawn = generator.random((len(devices), most, each))
        places = (drawn * self.pool_sizes[devices, None, None]).astype(np.int64)
        return self.pool[devices[:, None, None], places].astype(np.int64)

    def draw(self, devices: Integers, each: int, generator: np.random.Generator) -> Examples:
        """Draw a round's examples of some devices: every positive, with `each` negatives."""
        negatives = self.negatives(devices, each, generator)
        places = self.offsets[devices, None] + np.arange(negatives.shape[1])
        padded = np.append(self.positives, 0)[np.minimum(places, len(self.positives))]
        items = np.concatenate([padded[:, :, None], negatives], axis=2)
        labels = np.zeros(items.shape, dtype=np.float32)
        labels[:, :, 0] = 1.0
        shape = len(devices), items.shape[1] * items.shape[2]
        return Examples(items.reshape(shape), labels.reshape(shape), self.counts[devices] * (1 + each))
