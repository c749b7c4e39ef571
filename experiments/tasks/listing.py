"""Print a published list, as it lies in its folder or as a device keeps it."""

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table
from tuf.api.metadata import Targets

from terrycloth.client.task_list import TASKS_FOLDER, TaskList
from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.tasks.list_folder import ListFolder
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.tasks.published import PublishedList, TaskEntry, UnusableList
from terrycloth.models.times import DAY, moment


@dataclass(frozen=True)
class Shown:
    """A list, what is said below it, and when a device first saw each entry (seconds since 1970)."""

    published: PublishedList
    note: str
    seen: tuple[int, ...] | None = None


def read_shown(path: Path) -> Shown:
    """Read a list from its folder, or from that of a device group. Raises UserError."""
    if (path / TASKS_FOLDER).is_dir():
        try:
            kept = TaskList.open(path).kept
        except UnusableList as error:
            raise UserError(f"{path}: {error}") from None
        if kept is None:
            raise UserError(f"{path} keeps no list yet: fetch one with terry task verify")
        state = "expired on" if time.time() >= kept.expires else "valid until"
        fetched, expires = moment(kept.fetched), moment(kept.expires)
        note = f"fetched {fetched:%Y-%m-%d %H:%M} UTC, {state} {expires:%Y-%m-%d}"
        return Shown(kept.published, note, kept.seen)
    folder = ListFolder(path)
    root, targets = folder.root(), folder.newest(Targets.type)
    if targets is None:
        return Shown(PublishedList(), "nothing is published yet")
    result = root.signed.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
    note = (
        f"signed by {len(result.signed)} of {result.threshold} keys, until {targets.signed.expires:%Y-%m-%d}"
    )
    return Shown(folder.published(targets), note)


def print_list(shown: Shown, *, as_json: bool) -> None:
    """Print the entries as a table, with the note below it, or as the JSON that was signed."""
    console = make_console()
    if as_json:
        print(shown.published.to_bytes().decode())
        return
    columns = ["place", "published", "kind", "title", "promise", "task"]
    table = Table(*columns, *([] if shown.seen is None else ["known for"]))
    for place, entry in enumerate(shown.published.entries, start=1):
        row = [str(place), f"{entry.published:%Y-%m-%d}", entry.kind, entry.title]
        row += [promise_label(entry), entry.task.digest[:12]] if isinstance(entry, TaskEntry) else ["", ""]
        if shown.seen is not None:
            row.append(f"{(time.time() - shown.seen[place - 1]) / DAY:.1f} days")
        table.add_row(*row)
    console.print(table)
    console.print(shown.note)


def promise_label(entry: TaskEntry) -> str:
    """Return a task's promise in a few words, as far as this version knows it."""
    try:
        return Promise.model_validate(entry.task.promise).label
    except ValidationError:
        return "of another version"
