"""What can go wrong with a store's file, each in one line for the owner of the device."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from terrycloth.models.errors import UserError

sqlite: Any
try:
    sqlite = importlib.import_module("sqlcipher3.dbapi2")
except ImportError:  # an extra: a farm's arrays need no SQLCipher
    sqlite = None

CODE = 0xFF  # of SQLite's result codes, the part that names the kind

RESTORE = (
    "restore the newest one with its key; if there is none, nobody knows what was spent, so retire the device"
    " by removing its whole folder"
)


class DamagedStore(UserError):
    """The file is not the one that was last written, so nothing in it can be relied on."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise the errors of SQLite about this file as a UserError, or as DamagedStore."""
    try:
        yield
    except sqlite.Error as error:
        code = error.sqlite_errorcode & CODE
        full = f"no space is left for {path}, or its disk fails: free some and repeat"
        held = f"another program is using {path}: close it and repeat"
        shut = f"{path} cannot be opened for writing: correct its rights and those of its folder"
        lines = {
            sqlite.SQLITE_FULL: full,
            sqlite.SQLITE_IOERR: full,
            sqlite.SQLITE_BUSY: held,
            sqlite.SQLITE_LOCKED: held,
            sqlite.SQLITE_READONLY: shut,
            sqlite.SQLITE_CANTOPEN: shut,
            sqlite.SQLITE_PERM: shut,
        }
        if code in lines:
            raise UserError(f"{lines[code]}; nothing was changed") from None
        if code not in (sqlite.SQLITE_NOTADB, sqlite.SQLITE_CORRUPT, sqlite.SQLITE_ERROR):
            raise
        damaged = "its key does not fit, or the file" if code == sqlite.SQLITE_NOTADB else "the file"
        raise DamagedStore(f"{path} cannot be read: {damaged} is damaged: {RESTORE}") from None
