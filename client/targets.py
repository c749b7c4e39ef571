"""The held-out items of each device: what its shopper bought next. They serve evaluation, never training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terrycloth.client.events import Array, take_rows

COLUMNS = ("offsets", "items")


@dataclass(frozen=True)
class Targets:
    """The targets of devices 0 … n−1; those of device d are items[offsets[d] : offsets[d + 1]].

    offsets: int64 [n + 1]. items: int64 [targets], indices into the catalogue, ascending and without
    duplicates on each device. A device without targets is not evaluated.
    """

    offsets: Array
    items: Array

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_devices(self) -> int:
        """Number of devices, including those without targets."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Array:
        """Number of targets of each device: int64 [num_devices]. Private."""
        return np.diff(self.offsets)

    @property
    def devices(self) -> Array:
        """The device of each target: int64 [targets]."""
        return np.repeat(np.arange(self.num_devices), self.counts)

    @classmethod
    def from_pairs(cls, devices: Array, items: Array, num_devices: int) -> "Targets":
        """Build targets from unordered pairs of device and item; duplicate pairs count once."""
        items = np.asarray(items, dtype=np.int64)
        width = int(items.max(initial=0)) + 1
        pairs = np.unique(np.asarray(devices, dtype=np.int64) * width + items)
        counts = np.bincount(pairs // width, minlength=num_devices)
        return cls(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), pairs % width)

    @classmethod
    def none(cls, num_devices: int) -> "Targets":
        """Targets of `num_devices` devices that have none."""
        return cls(np.zeros(num_devices + 1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def keep(self, mask: Array) -> "Targets":
        """Keep the targets where mask [targets] is true; the number of devices stays the same."""
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Targets(kept[self.offsets], self.items[mask])

    def span(self, start: int, stop: int) -> "Targets":
        """The targets of devices start … stop−1, without copying."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        return Targets(self.offsets[start : stop + 1] - self.offsets[start], self.items[rows])

    def take(self, devices: Sequence[int] | Array) -> "Targets":
        """The targets of the given devices, renumbered from 0 in the given order."""
        offsets, rows = take_rows(self.offsets, np.asarray(devices, dtype=np.int64))
        return Targets(offsets, self.items[rows])

    def save(self, folder: Path) -> None:
        """Write one .npy file per column, as `Events.save` does."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> "Targets":
        """Map the files that `save` wrote into memory."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS))
