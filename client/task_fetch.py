"""Fetch the list of published tasks, and verify it by The Update Framework (https://theupdateframework.io).

The library `tuf` verifies that enough of the keys which the root names signed the list, that no part of the
metadata is older than what the device saw before (rollback), has expired (freezing), or comes from another
version than the rest (mix and match), and that the list is the file which the metadata names. This module
adds two rules: the witness that the owner of the devices pinned is one of the signers, whatever the root
says, and the list holds every entry that the device ever saw.
"""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import SSlibKey
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from terrycloth.client.task_list import TASKS_FOLDER, TaskList
from terrycloth.models.durable import locked, owner_only, write_private
from terrycloth.models.tasks.published import LIST_FILE, MOST_BYTES, PublishedList, UnusableList
from terrycloth.models.times import DAY

LIMITS = UpdaterConfig(
    root_max_length=2**16, timestamp_max_length=2**14, snapshot_max_length=2**16, targets_max_length=2**16
)
EXPIRING = ("root", "timestamp", "snapshot", "targets")


class FolderFetcher(FetcherInterface):
    """Reads what is published from a folder of this machine, where a URL would be fetched otherwise."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            content = Path(url).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError("there is no such file", 404) from None
        return iter([content])


@owner_only()
def pin(group: Path, root: bytes, witness: bytes | None) -> None:
    """Write the root of trust and the witness's public key that the owner of a device group chose.

    root: a root.json, signed by its own keys. witness: a public key as PEM. Raises UnusableList if either is
    unusable, or if others are pinned: a pin is changed by its owner, who removes the folder `tasks`.
    """
    trusted_root(root)
    if witness is not None:
        read_public_key(witness)
    folder = group / TASKS_FOLDER
    for name, content in (("root.json", root), ("witness.pub", witness)):
        path = folder / name
        before = path.read_bytes() if path.exists() else None
        if before != content and (folder / "root.json").exists():
            raise UnusableList(f"another {name} is pinned: remove the folder {TASKS_FOLDER} to pin anew")
    folder.mkdir(parents=True, exist_ok=True)
    if witness is not None:  # first, so that no device ever trusts the root alone
        write_private(folder / "witness.pub", witness)
    write_private(folder / "root.json", root)


@owner_only()
def fetch(group: Path, source: str, now: float) -> TaskList:
    """Fetch the list for a device group, verify it and keep it.

    source: URL or folder that holds `metadata` and `targets`. now: seconds since 1970, for what the device
    notes; the library reads the system's clock for whether signatures have expired. Raises UnusableList if
    the list cannot be fetched or trusted; the device then goes on with the list that it kept.
    """
    folder = group / TASKS_FOLDER
    metadata = folder / "metadata"
    try:
        with locked(folder / "fetch.lock"):
            updater = Updater(
                str(metadata),
                f"{source.rstrip('/')}/metadata",
                target_base_url=f"{source.rstrip('/')}/targets",
                fetcher=None if source.startswith(("https://", "http://")) else FolderFetcher(),
                config=LIMITS,
                bootstrap=(folder / "root.json").read_bytes(),
            )
            updater.refresh()
            targets = Metadata[Targets].from_file(str(metadata / "targets.json"))
            require_witness(folder, targets)
            target = targets.signed.targets.get(LIST_FILE)  # and none of a role to which they delegate
            if target is None or target.length > MOST_BYTES:
                raise UnusableList(f"the metadata names no list of at most {MOST_BYTES:,} bytes")
            path = Path(updater.download_target(target, str(folder / "fetched.json")))
            published = PublishedList.from_bytes(path.read_bytes())
            kept = TaskList.open(group)
            kept.accept(published, expiry(metadata), secrets.randbelow(DAY), now)
    except FileNotFoundError:
        raise UnusableList("no root is pinned: pin the root of the brand, and a witness") from None
    except DownloadError as error:
        raise UnusableList(f"the list cannot be fetched: {error}") from None
    except RepositoryError as error:
        raise UnusableList(f"the list cannot be trusted: {error}") from None
    return kept


def require_witness(folder: Path, targets: Metadata[Targets]) -> None:
    """Raise UnusableList unless the pinned witness signed the list; without a pinned witness, do nothing.

    The signature is verified with the pinned key itself, because a root that the brand alone signed may name
    any keys, under any identifiers.
    """
    if not (folder / "witness.pub").exists():
        return
    witness = read_public_key((folder / "witness.pub").read_bytes())
    for signature in targets.signatures.values():
        with suppress(UnverifiedSignatureError):
            witness.verify_signature(signature, targets.signed_bytes)
            return
    raise UnusableList("the witness that is pinned did not sign the list")


def expiry(metadata: Path) -> int:
    """Return when the first of the verified signatures expires, in seconds since 1970."""
    files = (Metadata.from_file(str(metadata / f"{role}.json")) for role in EXPIRING)
    return min(int(each.signed.expires.timestamp()) for each in files)


def trusted_root(content: bytes) -> Root:
    """Read a root that its own keys signed. Raises UnusableList."""
    try:
        root = Metadata[Root].from_bytes(content)
        if not isinstance(root.signed, Root):
            raise ValueError("metadata of another role")
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except (RepositoryError, ValueError):
        raise UnusableList("the root is not one that its own keys signed") from None
    return root.signed


def read_public_key(pem: bytes) -> SSlibKey:
    """Read a public key from PEM. Raises UnusableList."""
    try:
        return SSlibKey.from_crypto(load_pem_public_key(pem))
    except ValueError:
        raise UnusableList("a public key must be in PEM: use the file NAME.pub of terry task keys") from None
