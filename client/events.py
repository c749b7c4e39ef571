"""The interactions that devices hold, as columns: of one device in a deployment, of many in a simulation."""

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

    offsets: int64 [n + 1]. items: int32 [events], indices into the catalogue. times: int64 [events], the time
    of the visit in seconds since 1970. weights: float32 [events], positive: a quantity bought or a rating; 1
    if nothing is known. One row is one interaction, the privacy unit of `--unit interaction`.

    A **visit** is the events of one device that share a time: what its shopper bought at one instant. A
    visit has no inner order. Its rows are sorted by item and weight, so that nothing depends on their order
    in the source file.
    """

    offsets: Array
    items: Array
    times: Array
    weights: Array

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_devices(self) -> int:
        """Number of devices, including those without events."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Array:
        """Number of events of each device: int64 [num_devices]. Private."""
        return np.diff(self.offsets)

    @property
    def devices(self) -> Array:
        """The device of each event: int64 [events]."""
        return np.repeat(np.arange(self.num_devices), self.counts)

    @property
    def visits(self) -> Array:
        """The visit of each event, numbered from 0 on its device: int64 [events]."""
        begins = self._begins
        begun = np.cumsum(begins)  # visits of all devices up to and including this event
        before = np.concatenate([[0], begun])[self.offsets[:-1]]
        visits: Array = begun - np.repeat(before, self.counts) - 1
        return visits

    @property
    def later_visits(self) -> Array:
        """How many later visits the device of each event has: int64 [events]."""
        visits = self.visits
        last = np.append(visits, 0)[np.maximum(self.offsets[1:] - 1, 0)]  # each device's newest visit
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
        """Build events from rows in any order: they are sorted by device, time, item and weight."""
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
        """The events of `num_devices` devices that have none."""
        nothing = np.empty(0, dtype=np.int64)
        return cls.from_columns(nothing, nothing, nothing, nothing, num_devices)

    def keep(self, mask: Array) -> "Events":
        """Keep the events where mask [events] is true; the number of devices stays the same."""
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Events(kept[self.offsets], self.items[mask], self.times[mask], self.weights[mask])

    def newest(self, most: int) -> "Events":
        """Keep at most the `most` newest events of each device; the number of devices stays the same."""
        if self.counts.max(initial=0) <= most:
            return self
        place = np.arange(len(self)) - np.repeat(self.offsets[:-1], self.counts)
        return self.keep(place >= np.repeat(self.counts, self.counts) - most)

    def span(self, start: int, stop: int) -> "Events":
        """The events of devices start … stop−1, without copying."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        return Events(offsets, self.items[rows], self.times[rows], self.weights[rows])

    def take(self, devices: Sequence[int] | Array) -> "Events":
        """The events of the given devices, renumbered from 0 in the given order."""
        offsets, rows = take_rows(self.offsets, np.asarray(devices, dtype=np.int64))
        return Events(offsets, self.items[rows], self.times[rows], self.weights[rows])

    def save(self, folder: Path) -> None:
        """Write one .npy file per column, which `load` maps into memory without reading it all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> "Events":
        """Map the files that `save` wrote into memory; each page is read when it is first used."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS))

    @staticmethod
    def count_devices(folder: Path) -> int:
        """The number of devices that `save` wrote. Public: it is read from a file's header alone."""
        return len(np.load(folder / "offsets.npy", mmap_mode="r")) - 1


def take_rows(offsets: Array, devices: Array) -> tuple[Array, Array]:
    """Find the rows of the given devices in a column where device d has rows offsets[d] : offsets[d + 1].

    Returns new offsets, int64 [devices + 1], and the indices of the rows, int64 [rows], device by device.
    """
    counts = np.diff(offsets)[devices]
    taken = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    within = np.arange(taken[-1]) - np.repeat(taken[:-1], counts)
    return taken, np.repeat(offsets[devices], counts) + within
