"""The number of the newest checkpoint, kept in a file of its own; it only ever rises.

Under central trust, devices repeat their reply to a round that is requested again and do not charge for it,
while the server draws new noise for the sum. That is right if nobody saw the first result. Someone who
restored an older checkpoint, however, could see the same sum under as many noises as they like, for one
charge. So each checkpoint has a number, and before anything of a checkpoint is released, to devices or to
anybody else, this file records that number. A crash before that leaves the file behind the checkpoint, and
nobody has seen anything. An older checkpoint is behind the file, and the server refuses it. The same applies
under every trust, because devices would charge again for rounds that the server's ε counts once.

This does not protect against someone who also restores an old copy of this file, or who runs a copy of the
folder.
"""

import json
from pathlib import Path

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError

NEWEST = "newest-checkpoint.json"

NEW_RUN = "or start a new run in a new folder, which devices charge as a new run"


def note_newest(folder: Path, run: str, number: int) -> None:
    """Record that checkpoint `number` of this run exists. The record is on disk on return."""
    write_private(folder / NEWEST, json.dumps({"run": run, "number": number}).encode())


def check_newest(folder: Path, run: str, number: int) -> None:
    """Raise UserError if a later checkpoint of the run existed, or if the record of it is lost."""
    try:
        record = json.loads((folder / NEWEST).read_bytes())
        recorded_run, newest = record["run"], int(record["number"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder / NEWEST} is lost or damaged, so the checkpoint may be an old one, whose sums must not "
            f"be released again: restore the file, {NEW_RUN}"
        ) from None
    if recorded_run != run or number < newest:
        raise UserError(
            f"the checkpoint in {folder} is older than the newest release, and resuming from it would "
            f"release the same sums again: restore the newest checkpoint, {NEW_RUN}"
        )
