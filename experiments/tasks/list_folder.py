"""A published list as files, in the form of The Update Framework: any server of files can offer the folder.

metadata/N.root.json         version N of the root: which keys sign what
metadata/timestamp.json      which snapshot is current
metadata/N.snapshot.json     which version of the targets is current
metadata/N.targets.json      the list's hash, signed by the brand and by the witness
targets/HASH.list.json       the list itself
"""

from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from terrycloth.models.durable import replace
from terrycloth.models.errors import UserError
from terrycloth.models.tasks.published import LIST_FILE, PublishedList, UnusableList


class ListFolder:
    """The folder of a published list."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = path / "metadata"
        self.targets = path / "targets"

    def version(self, role: str) -> int:
        """Return the newest version of a role's metadata; 0 if there is none."""
        if role == Timestamp.type:
            path = self.metadata / "timestamp.json"
            return self.read(path).signed.version if path.exists() else 0
        names = (path.name.split(".")[0] for path in self.metadata.glob(f"*.{role}.json"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def newest(self, role: str) -> Metadata[Any] | None:
        """Return the newest metadata of a role that has numbered files; None if there is none."""
        version = self.version(role)
        return self.read(self.metadata / f"{version}.{role}.json") if version else None

    def root(self) -> Metadata[Root]:
        """Return the newest root. Raises UserError if there is none."""
        root = self.newest(Root.type)
        if root is None:
            raise UserError(f"{self.path} holds no list: begin one with terry task root")
        return root

    def roots(self) -> list[Metadata[Root]]:
        """Return all roots, the first one first. Raises UserError if one is missing."""
        return [
            self.read(self.metadata / f"{version}.root.json")
            for version in range(1, self.version(Root.type) + 1)
        ]

    def read(self, path: Path) -> Metadata[Any]:
        """Read a file of metadata. Raises UserError."""
        try:
            return Metadata.from_file(str(path))
        except (OSError, RepositoryError):
            raise UserError(f"{path} is missing or damaged: restore it from a copy of the list") from None

    def published(self, targets: Metadata[Targets] | None) -> PublishedList:
        """Return the list that signed metadata names; the empty list for None. Raises UserError."""
        if targets is None:
            return PublishedList()
        named = targets.signed.targets.get(LIST_FILE)
        if named is None:
            raise UserError(f"the metadata in {self.path} names no {LIST_FILE}: restore it from a copy")
        path = self.targets / f"{named.hashes['sha256']}.{LIST_FILE}"
        try:
            content = path.read_bytes()
            named.verify_length_and_hashes(content)
            return PublishedList.from_bytes(content)
        except (OSError, LengthOrHashMismatchError, UnusableList):
            raise UserError(f"{path} is not the list that was signed: restore it from a copy") from None

    def write_list(self, published: PublishedList) -> TargetFile:
        """Write a list, and return what the metadata says of it."""
        content = published.to_bytes()
        named = TargetFile.from_data(LIST_FILE, content, ["sha256"])
        self.write(self.targets / f"{named.hashes['sha256']}.{LIST_FILE}", content)
        return named

    def write_metadata(self, metadata: Metadata[Any]) -> None:
        """Write signed metadata under the name by which devices ask for it."""
        signed: Root | Snapshot | Targets | Timestamp = metadata.signed
        number = "" if isinstance(signed, Timestamp) else f"{signed.version}."
        self.write(self.metadata / f"{number}{signed.type}.json", metadata.to_bytes())

    @staticmethod
    def write(path: Path, content: bytes) -> None:
        """Write a file in one step, readable by everybody, since all of it is public."""
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(content)
        replace(partial, path)
        path.chmod(0o644)
