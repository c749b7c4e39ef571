"""What devices keep back to be measured by: the items that their shoppers bought next, and no model saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terrycloth.client.events import Array, take_rows

COLUMNS = ("offsets", "items")


@dataclass(frozen=True)
class Targets:
    """The targets of devices 0 … n−1; those of device d are items[offsets[d] : offsets[d + 1]].

    offsets: int64 [n + 1]. items: int64 [targets], an index into the catalogue, ascending on each device and
    none twice. A device without targets is not tested.
    """

    offsets: Array
    items: Array

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_devices(self) -> int:
        """How many devices there are, those without targets included."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Array:
        """Targets of each device: int64 [num_devices]. Private."""
        return np.diff(self.offsets)

    @property
    def devices(self) -> Array:
        """The device that each target is of: int64 [targets]."""
        return np.repeat(np.arange(self.num_devices), self.counts)

    @classmethod
    def from_pairs(cls, devices: Array, items: Array, num_devices: int) -> "Targets":
        """From loose pairs, of which each counts once."""
        items = np.asarray(items, dtype=np.int64)
        width = int(items.max(initial=0)) + 1
        pairs = np.unique(np.asarray(devices, dtype=np.int64) * width + items)
        counts = np.bincount(pairs // width, minlength=num_devices)
        return cls(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), pairs % width)

    @classmethod
    def none(cls, num_devices: int) -> "Targets":
        """No device is tested."""
        return cls(np.zeros(num_devices + 1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def keep(self, mask: Array) -> "Targets":
        """The targets where mask [targets] is true; every device stays."""
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Targets(kept[self.offsets], self.items[mask])

    def span(self, start: int, stop: int) -> "Targets":
        """Devices start … stop−1, without copying."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        return Targets(self.offsets[start : stop + 1] - self.offsets[start], self.items[rows])

    def take(self, devices: Sequence[int] | Array) -> "Targets":
        """The named devices, renumbered 0 … in the order given."""
        offsets, rows = take_rows(self.offsets, np.asarray(devices, dtype=np.int64))
        return Targets(offsets, self.items[rows])

    def save(self, folder: Path) -> None:
        """Write one .npy a column, as `Events.save` does."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> "Targets":
        """Map what `save` wrote."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS))
