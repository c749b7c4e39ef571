"""A published list for tests: the three keys, the brand, the witness, and devices that fetch."""

import shutil
import time
from pathlib import Path

from terrycloth.client.task_fetch import fetch, pin
from terrycloth.client.task_list import TaskList
from terrycloth.experiments.tasks.keys import create_keys, load_public, load_signer
from terrycloth.experiments.tasks.list_folder import ListFolder
from terrycloth.experiments.tasks.publish import publish, write_root
from terrycloth.experiments.tasks.witness import witness
from terrycloth.models.tasks.published import NoticeEntry, TaskEntry
from terrycloth.models.tasks.task import Task
from terrycloth.models.times import moment


def entry(number: int, **changes: object) -> TaskEntry:
    """The entry of a made-up task."""
    task = Task(code="code", settings={"dim": number}, promise={}, catalogue="0" * 64)
    values = {"published": moment(time.time()), "title": f"task {number}", "task": task}
    return TaskEntry.model_validate(values | changes)


def notice(text: str) -> NoticeEntry:
    return NoticeEntry(published=moment(time.time()), title=text)


class Publisher:
    """A brand with its keys and its list, and a witness with its key and its record.

    witnessed: whether the root asks for the witness's signature.
    """

    def __init__(self, home: Path, *, witnessed: bool = True) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        for name in ("root", "brand", "witness"):
            create_keys(home / name)
        self.list = ListFolder(home / "list")
        self.record = home / "record.json"
        self.make_root(witnessed=witnessed)

    def make_root(self, *, witnessed: bool) -> None:
        named = load_public(self.home / "witness.pub") if witnessed else None
        write_root(self.list, self.signer("root"), load_public(self.home / "brand.pub"), named, time.time())

    def signer(self, name: str):
        return load_signer(self.home / f"{name}.pem")

    def publish(self, added: TaskEntry | NoticeEntry | None, *, now: float | None = None, days: float = 30.0):
        """The brand signs; now: seconds since 1970."""
        return publish(self.list, self.signer("brand"), added, time.time() if now is None else now, days)

    def witness(self, *, now: float | None = None, record: Path | None = None) -> int:
        """The witness signs; another record is another memory of what it signed."""
        now = time.time() if now is None else now
        return witness(self.list, self.signer("witness"), record or self.record, now)

    def both(self, added: TaskEntry | NoticeEntry | None) -> None:
        self.publish(added)
        self.witness()

    def copy(self, name: str) -> Path:
        """A copy of the list as it is now, as a server may keep one to show it later."""
        return Path(shutil.copytree(self.list.path, self.home / name))

    def pin(self, group: Path, *, witness: bool = True) -> None:
        key = (self.home / "witness.pub").read_bytes()
        pin(group, (self.list.metadata / "1.root.json").read_bytes(), key if witness else None)

    def fetch(self, group: Path, source: Path | None = None, now: float | None = None) -> TaskList:
        source = source or self.list.path
        return fetch(group, str(source), time.time() if now is None else now)
