"""The list of what a brand published: tasks and notices, in order, to which entries are only ever added."""

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from terrycloth.models.tasks.task import Task, canonical

LIST_FILE = "list.json"  # the list's name in The Update Framework's metadata
MOST_BYTES = 2**22  # of a list: devices download no longer one
MOST_TEXT = 4_000  # characters of a text for people


class UnusableList(ValueError):
    """A list that a device must not use. The text says why, in one line."""


class TaskEntry(BaseModel):
    """A task that devices may be asked.

    published: when the brand published it, by the brand's clock. most_runs: in how many runs a device answers
    for this task; None: in as many as its ledger allows. A resumed run is the same run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["task"] = "task"
    published: AwareDatetime
    title: str = Field(min_length=1, max_length=MOST_TEXT)
    task: Task
    most_runs: int | None = Field(None, ge=1)


class NoticeEntry(BaseModel):
    """A notice to the owners of devices, such as that an incident happened or what a run was used for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["notice"] = "notice"
    published: AwareDatetime
    title: str = Field(min_length=1, max_length=MOST_TEXT)


Entry = Annotated[TaskEntry | NoticeEntry, Field(discriminator="kind")]


class PublishedList(BaseModel):
    """All entries that a brand ever published, the first one first. Entry n of the list has place n, from 1.

    format: raised when the meaning of an entry changes; a device refuses a list of another format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    entries: tuple[Entry, ...] = ()

    @classmethod
    def from_bytes(cls, content: bytes) -> "PublishedList":
        """Read what `to_bytes` wrote. Raises UnusableList."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise UnusableList(f"the list cannot be read: {place}: {first['msg']}") from None

    def to_bytes(self) -> bytes:
        """Return the list as JSON that people can read too, in one form only."""
        values = self.model_dump(mode="json")
        return json.dumps(values, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()

    def with_entry(self, entry: TaskEntry | NoticeEntry) -> "PublishedList":
        """Return the list with one more entry. Raises UnusableList if a task is listed already."""
        if isinstance(entry, TaskEntry) and (place := self.place(entry.task.digest)) is not None:
            raise UnusableList(f"the task is in the list already, at place {place}")
        return self.model_copy(update={"entries": (*self.entries, entry)})

    def tasks(self) -> Iterator[tuple[int, TaskEntry]]:
        """Yield the places and entries of all tasks, the first one first."""
        for place, entry in enumerate(self.entries, start=1):
            if isinstance(entry, TaskEntry):
                yield place, entry

    def place(self, digest: str) -> int | None:
        """Return the place of the task with this hash, or None if the list has no such task."""
        return next((place for place, entry in self.tasks() if entry.task.digest == digest), None)


def check_extends(newer: PublishedList, older: PublishedList) -> None:
    """Raise UnusableList unless the newer list has every entry of the older one, unchanged, at its place."""
    for place, entry in enumerate(older.entries, start=1):
        if place > len(newer.entries):
            raise UnusableList(f"entry {place} is missing, which an earlier list had")
        # As text, because Python takes 1, 1.0 and True for equal, and they are different tasks.
        if written(newer.entries[place - 1]) != written(entry):
            raise UnusableList(f"entry {place} is not the one that an earlier list had")


def written(entry: TaskEntry | NoticeEntry) -> bytes:
    """Return an entry as JSON in one form only."""
    return canonical(entry.model_dump(mode="json"))
