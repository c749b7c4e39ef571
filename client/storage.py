"""Where the devices behind a node keep what is theirs: arrays for a farm, or a store for one device.

`DeviceGroup` holds the rules of a query, and reads and writes through this seam alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from terrycloth.client.events import Events
from terrycloth.client.state import CorruptState, DeviceState
from terrycloth.client.targets import Targets
from terrycloth.models.durable import locked
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import Refusal

EVENTS_FOLDER = "events"
TARGETS_FOLDER = "targets"
SEED_FILE = "seed"

# A message for the owner of the devices, in the node's own log.
CORRUPT = (
    "%s in the device group's folder is missing, damaged, or belongs to other"
    " devices: restore it from a backup that is not older than the last reply; without such a backup, nobody"
    " knows what was spent, so retire the devices by removing the device group's whole folder (never delete"
    " only the ledger)"
)


class Declined(Exception):
    """Every device of the device group refuses a query, for `reason`."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Storage(Protocol):
    """What devices keep."""

    @property
    def devices(self) -> npt.NDArray[np.int64]:
        """The numbers of the devices in this storage's federation, from 0: [n]."""

    def answering(self, dim: int) -> Any:
        """Return a context manager that keeps other processes from answering with these devices.

        dim: length of the vectors of a new state. Raises Declined if the devices are divided differently.
        """

    def load(self) -> DeviceState:
        """Return the state. Raises CorruptState if it cannot be relied on, Declined without consent."""

    def save(self, state: DeviceState) -> None:
        """Replace the state. It is on disk on return."""

    def conclude(self, state: DeviceState, settings: RoundSettings, sent_bytes: int, task: str) -> None:
        """Replace the state by one that has replied, before the reply of so many bytes leaves.

        task: the published task that was asked, or "". Raises Declined if consent was withdrawn meanwhile.
        """

    def events(self, items: Any) -> Events:
        """Return the events. items: the identifiers of the catalogue's items, in its order."""

    def targets(self) -> Targets:
        """Return the held-out items."""


class ArrayStorage:
    """The devices of partition `partition` out of `partitions` of a folder of arrays."""

    def __init__(self, folder: Path, partition: int, partitions: int) -> None:
        devices = Events.count_devices(folder / EVENTS_FOLDER)
        start, stop = (devices * edge // partitions for edge in (partition, partition + 1))
        self.folder = folder
        self.span = start, stop
        self.devices = np.arange(start, stop)
        self.partitions = partitions
        self.state_path = folder / f"state-{partition}-of-{partitions}.safetensors"
        self.lock_path = self.state_path.with_suffix(".lock")

    @contextmanager
    def answering(self, dim: int) -> Iterator[None]:
        """Lock the state, after making that of new devices. Raises Declined for another partition.

        If there is a lock file, there was a state. If that state was lost, its budget is spent all the same,
        so no new state is created.
        """
        with locked(self.folder / "devices.lock"):
            files = [*self.folder.glob("state-*-of-*.safetensors"), *self.folder.glob("state-*-of-*.lock")]
            if any(not path.stem.endswith(f"-of-{self.partitions}") for path in files):
                raise Declined(Refusal.PARTITION)
            if not self.state_path.exists() and not self.lock_path.exists():
                DeviceState.new(len(self.devices), dim).save(self.state_path)
        with locked(self.lock_path):
            yield

    def load(self) -> DeviceState:
        """Read the state. Raises CorruptState, with the remedy, if it is not that of these devices."""
        try:
            state = DeviceState.load(self.state_path)
        except CorruptState:
            raise CorruptState(CORRUPT % self.state_path.name) from None
        if len(state.vectors) != len(self.devices):
            raise CorruptState(CORRUPT % self.state_path.name)
        return state

    def save(self, state: DeviceState) -> None:
        """Replace the state file in one step."""
        state.save(self.state_path)

    def conclude(self, state: DeviceState, settings: RoundSettings, sent_bytes: int, task: str) -> None:
        """Replace the state file. A farm's devices write no receipts."""
        state.save(self.state_path)

    def events(self, items: Any) -> Events:
        """Map the events into memory; they hold indices into the catalogue already."""
        return Events.load(self.folder / EVENTS_FOLDER).span(*self.span)

    def targets(self) -> Targets:
        """Map the held-out items into memory."""
        path = self.folder / TARGETS_FOLDER
        return Targets.load(path).span(*self.span) if path.exists() else Targets.none(len(self.devices))


def write_seed(folder: Path, seed: int, first: int = 0) -> None:
    """Make all draws of the devices in a folder repeatable, so that their promise is not private.

    first: the number of the first device, if other folders hold the devices before it.
    """
    (folder / SEED_FILE).write_text(f"{seed} {first}")


def read_seed(folder: Path) -> tuple[int, int]:
    """Return the seed and the number of the first device, as `write_seed` wrote them."""
    seed, *first = map(int, (folder / SEED_FILE).read_text().split())
    return seed, sum(first)
