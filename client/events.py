"""What devices hold: their interactions, as columns. One device in a deployment, many on a device group."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
COLUMNS = ("offsets", "items", "times", "weights")


@dataclass(frozen=True)
class Events:
    """Interactions of devices 0 … n−1; those of device d are rows offsets[d] : offsets[d + 1], oldest first.

    offsets: int64 [n + 1]. items: int32 [events], an index into the catalogue. times: int64 [events], seconds
    since 1970, the instant of the visit. weights: float32 [events], positive: a quantity bought, a rating; 1
    where nothing is known. One row is one interaction: the privacy unit of `--unit interaction`.

    A **visit** is what one device's shopper bought at one instant: the events of a device that share a time.
    Inside a visit there is no order. Its rows are sorted by item and weight, so that nothing can depend on
    the order in which a file lists them.
    """

    offsets: Array
    items: Array
    times: Array
    weights: Array

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_devices(self) -> int:
        """How many devices there are, those that hold nothing included."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Array:
        """Events held by each device: int64 [num_devices]. Private."""
        return np.diff(self.offsets)

    @property
    def devices(self) -> Array:
        """The device each event is on: int64 [events]."""
        return np.repeat(np.arange(self.num_devices), self.counts)

    @property
    def visits(self) -> Array:
        """The number of each event's visit, counted from 0 on its device: int64 [events]."""
        begins = self._begins
        begun = np.cumsum(begins)  # visits of all devices up to and with this one
        before = np.concatenate([[0], begun])[self.offsets[:-1]]
        visits: Array = begun - np.repeat(before, self.counts) - 1
        return visits

    @property
    def later_visits(self) -> Array:
        """How many visits of its device came after each event's: int64 [events]."""
        visits = self.visits
        last = np.append(visits, 0)[np.maximum(self.offsets[1:] - 1, 0)]  # of each device's newest visit
        return np.repeat(last, self.counts) - visits

    @property
    def _begins(self) -> Array:
        """Whether an event is the first row of a visit: bool [events]."""
        begins = np.ones(len(self), dtype=np.bool_)
        begins[1:] = self.times[1:] != self.times[:-1]
        begins[self.offsets[:-1][self.counts > 0]] = True
        return begins

    @classmethod
    def from_columns(
        cls, devices: Array, items: Array, times: Array, weights: Array, num_devices: int
    ) -> "Events":
        """Sort loose rows by device, time, item and weight: their own order leaves no trace."""
        order = np.lexsort((weights, items, times, devices))
        counts = np.bincount(devices, minlength=num_devices)
        return cls(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            items=np.asarray(items)[order].astype(np.int32),
            times=np.asarray(times)[order].astype(np.int64),
            weights=np.asarray(weights)[order].astype(np.float32),
        )

    @classmethod
    def none(cls, num_devices: int) -> "Events":
        """Of devices that hold nothing."""
        nothing = np.empty(0, dtype=np.int64)
        return cls.from_columns(nothing, nothing, nothing, nothing, num_devices)

    def keep(self, mask: Array) -> "Events":
        """The events where mask [events] is true; every device stays, perhaps with nothing."""
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Events(kept[self.offsets], self.items[mask], self.times[mask], self.weights[mask])

    def newest(self, most: int) -> "Events":
        """The newest events of each device, `most` of each at the most; every device stays."""
        if self.counts.max(initial=0) <= most:
            return self
        place = np.arange(len(self)) - np.repeat(self.offsets[:-1], self.counts)
        return self.keep(place >= np.repeat(self.counts, self.counts) - most)

    def span(self, start: int, stop: int) -> "Events":
        """Devices start … stop−1, without copying."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        return Events(offsets, self.items[rows], self.times[rows], self.weights[rows])

    def take(self, devices: Sequence[int] | Array) -> "Events":
        """The named devices, renumbered 0 … in the order given."""
        offsets, rows = take_rows(self.offsets, np.asarray(devices, dtype=np.int64))
        return Events(offsets, self.items[rows], self.times[rows], self.weights[rows])

    def save(self, folder: Path) -> None:
        """Write one .npy a column, which `load` maps into memory without reading it all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> "Events":
        """Map what `save` wrote; pages are read when they are touched."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS))

    @staticmethod
    def count_devices(folder: Path) -> int:
        """How many devices `save` wrote. Public: a file's header says it, and no event is read."""
        return len(np.load(folder / "offsets.npy", mmap_mode="r")) - 1


def take_rows(offsets: Array, devices: Array) -> tuple[Array, Array]:
    """Of a column whose rows of device d are offsets[d] : offsets[d + 1], the named devices' rows in turn.

    Returns their own offsets, int64 [devices + 1], and the rows, int64.
    """
    counts = np.diff(offsets)[devices]
    taken = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    within = np.arange(taken[-1]) - np.repeat(taken[:-1], counts)
    return taken, np.repeat(offsets[devices], counts) + within
