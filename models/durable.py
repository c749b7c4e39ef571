"""Files for their owner only.

A file is on disk as a whole or not at all, and one process at a time changes it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from terrycloth.models.file_lock import lock_file

POLL = 0.02  # seconds between two looks at a lock that another process holds


@contextmanager
def owner_only() -> Iterator[None]:
    """Close everything made inside the block to other users: folders get the mode 0700, files 0600.

    It sets the umask, which libraries that write their own files also obey. The umask applies to the whole
    process.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_private(path: Path, content: bytes) -> None:
    """Write a file in one step, readable only by its owner. It is on disk on return.

    Raises OSError if it cannot be written; what was there before then stays, and nothing else.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.touch(mode=0o600)
        partial.write_bytes(content)
        replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def replace(partial: Path, path: Path) -> None:
    """Replace a file by another in one step, readable only by its owner. It is on disk on return."""
    partial.chmod(0o600)
    synchronise(partial)
    partial.replace(path)
    synchronise(path.parent)  # otherwise a power cut could restore the old file, and with it an old ledger


def synchronise(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool | float = True) -> Iterator[None]:
    """Hold a lock on this file, so that no second process changes what the file stands for.

    wait: whether to wait for another process that holds it, or for how many seconds at most. Raises
    BlockingIOError if it holds it longer.
    """
    path.touch(mode=0o600)
    with path.open("w") as file:
        if isinstance(wait, bool):
            lock_file(file, wait=wait)
        else:
            _lock_within(file, wait)
        yield


def _lock_within(file: IO[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return lock_file(file, wait=False)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL)
