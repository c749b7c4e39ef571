"""The key of a device's store, and the anchor beside it: the head of the newest transaction in the store.

Both are kept outside of the store, in one entry of the system's key ring or in one file. The anchor is how an
older store, which is encrypted as well as the newest one, is told from it.
"""

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError

SERVICE = "terrycloth"  # the entries' service in the key ring
KEY_BYTES = 32
INSTALL = "install what a store needs with pip install 'terrycloth[federation]'"


@dataclass(frozen=True)
class Anchor:
    """The key of a store, and the transactions that it must hold.

    key: 32 bytes in hexadecimal. counter, head: number and head of the newest transaction known to be in the
    store. following: head of a transaction that is being written, or "" if none is. After a crash the store
    may hold either.
    """

    key: str = field(repr=False)
    counter: int = 0
    head: str = ""
    following: str = ""

    @classmethod
    def new(cls) -> "Anchor":
        """Return the anchor of an empty store, with a fresh key from the operating system."""
        return cls(secrets.token_hex(KEY_BYTES))

    def before(self, head: str) -> "Anchor":
        """Return the anchor while the transaction with this head is being written."""
        return replace(self, following=head)

    def after(self, counter: int, head: str) -> "Anchor":
        """Return the anchor once the transaction with this number and head is in the store."""
        return replace(self, counter=counter, head=head, following="")


class KeyHolder(Protocol):
    """A place that keeps a store's anchor. All methods raise UserError, in one line, if it cannot be used."""

    def read(self) -> Anchor:
        """Return the anchor."""

    def write(self, anchor: Anchor) -> None:
        """Replace the anchor. It is kept when this returns."""

    def delete(self) -> None:
        """Forget the key, and with it the store."""


@dataclass(frozen=True)
class KeyFile:
    """A file that only its owner can read. Whoever copies the whole disk has the key too."""

    path: Path

    def read(self) -> Anchor:
        """Read the file. Raises UserError if it is missing, damaged or open to other users."""
        try:
            if self.path.stat().st_mode & 0o077:
                raise UserError(f"{self.path} is open to other users: run chmod 600 on it")
            return _from_json(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path}, the key of the store, is missing: put it back") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{self.path}, the key of the store, cannot be read: put it back") from None

    def write(self, anchor: Anchor) -> None:
        """Write the file in one step. A symbolic link stays one, so the key may lie on another disk."""
        try:
            write_private(self.path.resolve(), json.dumps(asdict(anchor)).encode())
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}): free space, or correct its rights"
            ) from None

    def delete(self) -> None:
        """Remove the file."""
        self.path.resolve().unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class KeyRing:
    """An entry of the system's key ring. name: the store's public salt, so a store may be moved."""

    name: str

    def read(self) -> Anchor:
        """Read the entry. Raises UserError if there is none."""
        text = self._call("get_password", SERVICE, self.name)
        if text is None:
            raise UserError(
                "the key ring holds no key for this store: unlock the key ring of the user who made it"
            )
        return _from_json(str(text))

    def write(self, anchor: Anchor) -> None:
        """Write the entry."""
        self._call("set_password", SERVICE, self.name, json.dumps(asdict(anchor)))

    def delete(self) -> None:
        """Delete the entry."""
        self._call("delete_password", SERVICE, self.name)

    @staticmethod
    def _call(function: str, *arguments: str) -> object:
        try:
            import keyring
        except ImportError:
            raise UserError(f"the package keyring is missing: {INSTALL}") from None
        try:
            return getattr(keyring, function)(*arguments)
        except Exception as error:  # each system's backend raises its own classes
            raise UserError(
                f"the system's key ring cannot be used ({type(error).__name__}): unlock it, or make the store"
                " with --key-file, which keeps the key in a file"
            ) from None


def _from_json(text: str) -> Anchor:
    values = json.loads(text)
    return Anchor(
        key=bytes.fromhex(values["key"]).hex(),
        counter=int(values["counter"]),
        head=str(values["head"]),
        following=str(values["following"]),
    )
