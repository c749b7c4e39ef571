"""The brand's part: begin a list, and add entries to it. The keys are on a machine that is not the server.

The targets role, which names the list, needs as many signatures as it has keys: the brand's and, where there
is one, the witness's. The brand alone signs the snapshot and the timestamp. The root key signs which keys
these are, and can replace them; it can be kept apart from both.
"""

import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from terrycloth.experiments.tasks.list_folder import ListFolder
from terrycloth.experiments.tasks.source import settings_and_catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.tasks.published import LIST_FILE, MOST_TEXT, NoticeEntry, TaskEntry, UnusableList
from terrycloth.models.tasks.task import task_of
from terrycloth.models.times import DAY, moment

ROOT_DAYS = 5 * 365  # a root that has expired is replaced with terry task root


def write_root(
    folder: ListFolder, root: CryptoSigner, brand: SSlibKey, witness: SSlibKey | None, now: float
) -> int:
    """Write the first root of a list, or the next one with other keys, and return its version.

    root: the root key, the same in all versions. now: seconds since 1970. Raises UserError for a key in two
    places, and for another root key than before.
    """
    signers = [brand] if witness is None else [brand, witness]
    keys = [root.public_key, *signers]
    if len({key.keyid for key in keys}) < len(keys):
        raise UserError("root, brand and witness need a key each: make them with terry task keys")
    version = folder.version(Root.type) + 1
    if version > 1:
        check_signer(folder, root, Root.type)
    signed = Root(version=version, expires=after(now, ROOT_DAYS), consistent_snapshot=True)
    signed.add_key(root.public_key, Root.type)
    for key in signers:
        signed.add_key(key, Targets.type)
    signed.roles[Targets.type].threshold = len(signers)
    for role in (Snapshot.type, Timestamp.type):
        signed.add_key(brand, role)
    folder.write_metadata(sign(signed, root))
    return version


def publish(
    folder: ListFolder, brand: CryptoSigner, entry: TaskEntry | NoticeEntry | None, now: float, days: float
) -> int:
    """Sign the list with one more entry, or for None the same list anew, and return its number of entries.

    days: after which the signatures expire, so that nobody can hold back later entries for longer. A list
    with a witness is complete only when the witness has signed as well. Raises UserError if the key is not
    the brand's, if the task is listed already, or if somebody changed the folder.
    """
    check_signer(folder, brand, Timestamp.type)
    newest = folder.newest(Targets.type)
    if newest is not None:
        require_brand(folder, newest)
    published = folder.published(newest)
    if entry is not None:
        try:
            published = published.with_entry(entry)
        except UnusableList as error:
            raise UserError(f"{error}: use --renew to sign the list anew") from None
    elif newest is None:
        raise UserError("there is nothing to sign anew: publish a task or a notice first")
    expires = after(now, days)
    targets = Targets(folder.version(Targets.type) + 1, expires=expires)
    targets.targets = {LIST_FILE: folder.write_list(published)}
    snapshot = Snapshot(folder.version(Snapshot.type) + 1, expires=expires)
    snapshot.meta = {"targets.json": MetaFile(version=targets.version)}
    timestamp = Timestamp(folder.version(Timestamp.type) + 1, expires=expires)
    timestamp.snapshot_meta = MetaFile(version=snapshot.version)
    for signed in (targets, snapshot, timestamp):  # in this order, so that a stop in between breaks nothing
        folder.write_metadata(sign(signed, brand))
    return len(published.entries)


def entry_for(title: str, run: Path | None, most_runs: int | None, now: float) -> TaskEntry | NoticeEntry:
    """Return a new entry: a task with the settings of a run, or a notice for None. Raises UserError."""
    if not 1 <= len(title) <= MOST_TEXT:
        raise UserError(f"--title has {len(title):,} characters: write 1 to {MOST_TEXT:,}")
    if run is None:
        return NoticeEntry(published=moment(now), title=title)
    task = task_of(*settings_and_catalogue(run))
    return TaskEntry(published=moment(now), title=title, task=task, most_runs=most_runs)


def require_brand(folder: ListFolder, targets: Metadata[Targets]) -> None:
    """Raise UserError unless a key that a root of this list names signed these targets."""
    for root in folder.roots():
        verified = root.signed.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
        if verified.signed:
            return
    raise UserError(f"the newest list in {folder.path} is not signed by its brand: restore it from a copy")


def check_signer(folder: ListFolder, signer: CryptoSigner, role: str) -> None:
    """Raise UserError unless the newest root names this key for a role."""
    if signer.public_key.keyid not in folder.root().signed.roles[role].keyids:
        whose = "root" if role == Root.type else "brand"
        raise UserError(f"the key is not the {whose} key of this list: name the one that terry task root got")


def sign(signed: Any, signer: CryptoSigner) -> Metadata[Any]:
    """Return metadata with one signature."""
    metadata = Metadata(signed)
    metadata.sign(signer)
    return metadata


def after(now: float, days: float) -> datetime.datetime:
    """Return the instant so many days after now. now: seconds since 1970."""
    return moment(now + days * DAY)
