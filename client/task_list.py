"""The list of published tasks that a device keeps, and whether a request is one of them.

The folder of a device group may hold the folder `tasks`:

    root.json      the root of trust that the owner of the devices pinned
    witness.pub    the public key of the witness that the owner pinned; may be absent
    kept.json      the last list that was accepted, and when the device first saw each of its entries
    metadata/      what The Update Framework keeps, see `task_fetch`

The age of a task counts from when this device first saw it, by the device's own clock. A brand that signs a
false date of publication, with or without the server, cannot make a task older in this way. The price is that
a device which has just been set up waits as long as all others did.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.durable import locked, write_private
from terrycloth.models.settings import RoundSettings
from terrycloth.models.tasks.published import PublishedList, TaskEntry, UnusableList, check_extends
from terrycloth.models.tasks.task import task_of
from terrycloth.models.times import DAY
from terrycloth.models.update import Refusal

TASKS_FOLDER = "tasks"
DAMAGED = "kept.json, the list of tasks that the device keeps, is damaged: restore it from a copy"


class TaskRefused(Exception):
    """The devices do not answer a request, because of what is published."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Kept(BaseModel):
    """The file kept.json. All times are in seconds since 1970.

    seen: when the device first saw each entry of the list. expires: when the list's signatures expire.
    fetched: when the list was last fetched. offset: seconds into the day at which this device fetches it,
    drawn once. runs: by a task's hash, the names of the runs in which the device was asked for it, if the
    entry limits their number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    published: PublishedList
    seen: tuple[int, ...]
    expires: int
    fetched: int
    offset: int
    runs: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True)
class Listed:
    """The entry of the list under which a request is answered, for the receipt. place: from 1."""

    place: int
    entry: TaskEntry
    first_seen: int

    def __str__(self) -> str:
        return f"{self.place}, {self.entry.title} ({self.entry.task.digest})"


class TaskList:
    """The list of published tasks in the folder `tasks` of a device group."""

    def __init__(self, folder: Path, kept: Kept | None) -> None:
        self.folder = folder
        self.kept = kept

    @classmethod
    def open(cls, group: Path) -> "TaskList":
        """Open the list in a device group's folder.

        Raises UnusableList if the list is damaged. Without a list every task is refused.
        """
        folder = group / TASKS_FOLDER
        try:
            kept = Kept.model_validate_json((folder / "kept.json").read_bytes())
        except FileNotFoundError:
            return cls(folder, None)
        except (OSError, ValidationError):
            raise UnusableList(DAMAGED) from None
        if len(kept.seen) != len(kept.published.entries):
            raise UnusableList(DAMAGED)
        return cls(folder, kept)

    def check(self, settings: RoundSettings, catalogue: Catalogue, least_age: float, now: float) -> Listed:
        """Return the entry that allows a request with these settings.

        least_age: days for which the device must have known the entry. now: seconds since 1970. Raises
        TaskRefused if the request belongs to no entry, the entry is too young, the task was asked for in more
        runs than published, or there is no current list. Reads no events, and writes nothing but the name of
        the run.
        """
        if self.kept is None:
            raise TaskRefused(Refusal.TASK_LIST)
        if now >= self.kept.expires:
            raise TaskRefused(Refusal.TASK_LIST_EXPIRED)
        place = self.kept.published.place(task_of(settings, catalogue).digest)
        if place is None:
            raise TaskRefused(Refusal.TASK_UNLISTED)
        entry = self.kept.published.entries[place - 1]
        assert isinstance(entry, TaskEntry)
        first_seen = self.kept.seen[place - 1]
        # A first sight in the future, by a clock that was wrong, makes the age negative: also too young.
        if now - first_seen < least_age * DAY:
            raise TaskRefused(Refusal.TASK_YOUNG)
        if entry.most_runs is not None:
            self.count_run(entry.task.digest, settings.run, entry.most_runs)
        return Listed(place, entry, first_seen)

    def count_run(self, task: str, run: str, most_runs: int) -> None:
        """Note the name of a run of a task. Raises TaskRefused if it would be one run too many."""
        assert self.kept is not None
        if run in self.kept.runs.get(task, ()):
            return
        with self.locked():
            kept = TaskList.open(self.folder.parent).kept or self.kept
            runs = kept.runs.get(task, ())
            if run not in runs:
                if len(runs) >= most_runs:
                    raise TaskRefused(Refusal.TASK_RUNS)
                kept = kept.model_copy(update={"runs": kept.runs | {task: (*runs, run)}})
                self.write(kept)
        self.kept = kept

    def accept(self, published: PublishedList, expires: int, offset: int, now: float) -> None:
        """Keep a list whose signatures were verified. Raises UnusableList if it does not extend the last one.

        expires: when its signatures expire. offset: seconds into the day at which to fetch, if never drawn.
        """
        with self.locked():
            last = TaskList.open(self.folder.parent).kept
            if last is not None:
                check_extends(published, last.published)
            seen = () if last is None else tuple(min(each, int(now)) for each in last.seen)
            kept = Kept(
                published=published,
                seen=seen + (int(now),) * (len(published.entries) - len(seen)),
                expires=expires,
                fetched=int(now),
                offset=offset if last is None else last.offset,
                runs={} if last is None else last.runs,
            )
            self.write(kept)
        self.kept = kept

    def due(self, now: float) -> bool:
        """Whether the list is due to be fetched: once a day, at this device's own time of the day.

        The schedule does not depend on whether the device takes part in a run, so fetching tells nothing.
        """
        if self.kept is None:
            return True
        day_of_fetch, today = ((each - self.kept.offset) // DAY for each in (self.kept.fetched, int(now)))
        return day_of_fetch != today

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock on what is kept."""
        return locked(self.folder / "kept.lock")

    def write(self, kept: Kept) -> None:
        """Replace kept.json in one step."""
        write_private(self.folder / "kept.json", kept.model_dump_json(indent=1).encode())
