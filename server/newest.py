"""Which checkpoint is the newest: a count that only rises, in a file of its own.

Under central trust a round that is asked again gets its sum again, which devices do not book, and the
server's noise on it is drawn anew. That is right where the first was never seen. Whoever put an older
checkpoint back would have the same sum under as many noises as they like, for one booking. So each checkpoint
has a number, and before anything of it is released, to devices or to anybody else, this file says that there
is one with that number. A crash before that leaves the file behind the checkpoint, and nothing was seen; an
older checkpoint is behind the file, and is refused. So it is under every trust: devices would book rounds
anew that the server's ε counts once.

Whoever puts an old copy of this file back too, or runs a copy of the folder, defeats it.
"""

import json
from pathlib import Path

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError

NEWEST = "newest-checkpoint.json"

NEW_RUN = "or start a new run, in a new folder, which its devices book as one"


def note_newest(folder: Path, run: str, number: int) -> None:
    """Say that checkpoint `number` of this run is there; on disk when this returns."""
    write_private(folder / NEWEST, json.dumps({"run": run, "number": number}).encode())


def check_newest(folder: Path, run: str, number: int) -> None:
    """Raise UserError where a later checkpoint of the run was there, or where nobody can tell."""
    try:
        noted = json.loads((folder / NEWEST).read_bytes())
        known, newest = noted["run"], int(noted["number"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder / NEWEST} is lost or damaged, and without it an old checkpoint cannot be told from the "
            f"newest, whose sums must not be released again: put it back, {NEW_RUN}"
        ) from None
    if known != run or number < newest:
        raise UserError(
            f"the checkpoint in {folder} is older than what was released since, and to go on from it would "
            f"release the same sums again: put the newest back, {NEW_RUN}"
        )
