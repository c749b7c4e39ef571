"""The witness's part: sign a list only if it extends the last one that was signed.

A witness is somebody whom owners of devices trust more than the brand, such as a consumers' association. The
witness need not judge the tasks. That it signs one list for everybody, to which entries are only ever added,
is what keeps a brand from showing different lists to different devices.
"""

from datetime import timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from terrycloth.experiments.tasks.list_folder import ListFolder
from terrycloth.models.durable import locked, write_private
from terrycloth.models.errors import UserError
from terrycloth.models.tasks.published import PublishedList, UnusableList, check_extends
from terrycloth.models.times import moment

SKEW = timedelta(days=1)  # by which the clocks of brand and witness may differ


class Record(BaseModel):
    """What a witness signed last. root: the newest root that it followed, as text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str
    version: int
    signed: AwareDatetime
    published: PublishedList


def witness(folder: ListFolder, signer: CryptoSigner, record_path: Path, now: float) -> int:
    """Sign the newest list of a folder, and return its number of entries.

    record_path: file of what this witness signed last for this brand; the first time it does not exist. It is
    written before the signature leaves. Raises UserError unless the brand signed the list, the list extends
    the last one, and its new entries are dated after the last signature and not in the future.
    """
    if not record_path.parent.is_dir():
        raise UserError(f"{record_path.parent} is not a folder: create it, or choose another --record")
    with locked(record_path.with_name(record_path.name + ".lock")):
        record = read_record(record_path)
        root = followed_root(folder, record)
        targets = folder.newest(Targets.type)
        if targets is None:
            raise UserError(f"{folder.path} holds no list to sign: the brand publishes first")
        own = signer.public_key.keyid
        if own not in root.signed.roles[Targets.type].keyids:
            raise UserError("the root of this list does not name this witness: the brand must name its key")
        verified = root.signed.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
        if not verified.signed.keys() - {own}:
            raise UserError("the brand did not sign this list: nothing is signed")
        published = folder.published(targets)
        if record is not None:
            check_record(record, targets.signed.version, published)
        check_dates(published, record, now)
        newer = Record(
            root=root.to_bytes().decode(),
            version=targets.signed.version,
            signed=moment(now),
            published=published,
        )
        write_private(record_path, newer.model_dump_json(indent=1).encode())
        targets.sign(signer, append=True)
        folder.write_metadata(targets)
    return len(published.entries)


def check_record(record: Record, version: int, published: PublishedList) -> None:
    """Raise UserError unless a list may follow the last one that was signed."""
    try:
        check_extends(published, record.published)
    except UnusableList as error:
        raise UserError(f"the list does not extend the last one: {error}: nothing is signed") from None
    same = len(published.entries) == len(record.published.entries)
    if version < record.version or (version == record.version and not same):
        raise UserError(f"version {record.version} of the list was signed already: nothing is signed")


def check_dates(published: PublishedList, record: Record | None, now: float) -> None:
    """Raise UserError if a new entry is dated into the future, or before the last signature."""
    signed = 0 if record is None else len(record.published.entries)
    for place, entry in enumerate(published.entries[signed:], start=signed + 1):
        if entry.published > moment(now) + SKEW:
            raise UserError(f"entry {place} is dated into the future: nothing is signed")
        if record is not None and entry.published < record.signed - SKEW:
            raise UserError(f"entry {place} is dated before the last signature: nothing is signed")


def read_record(path: Path) -> Record | None:
    """Read what was signed last, or None if there is nothing. Raises UserError."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise UserError(f"{path} is not the record of a witness: restore it from a copy") from None


def followed_root(folder: ListFolder, record: Record | None) -> Metadata[Root]:
    """Return the newest root, each verified by the one before, from the one that was followed last.

    Raises UserError. Without a record the first root of the folder is taken as it is.
    """
    roots = folder.roots()
    if not roots:
        folder.root()  # says what to do
    trusted = roots[0] if record is None else Metadata[Root].from_bytes(record.root.encode())
    try:
        for root in roots[trusted.signed.version - 1 :]:
            if root.signed.version == trusted.signed.version:
                if root.signed_bytes != trusted.signed_bytes:
                    raise UserError("the root is not the one that was followed last: nothing is signed")
            else:
                trusted.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
            root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
            trusted = root
    except RepositoryError:
        raise UserError("a root of this list is not signed by the one before: nothing is signed") from None
    if len(roots) < trusted.signed.version:
        raise UserError("the root is older than the one that was followed last: nothing is signed")
    return trusted
