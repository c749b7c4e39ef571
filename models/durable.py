"""Files that are their owner's alone: whole and on disk, or not there; changed by one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def owner_only() -> Iterator[None]:
    """Whatever is made in the block is closed to others: folders get the mode 0700, files 0600.

    By the umask, which libraries that write files of their own keep to as well. It is of the whole process.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_private(path: Path, content: bytes) -> None:
    """Write a file in one step, on disk when this returns, for its owner's eyes only."""
    partial = path.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_bytes(content)
    replace(partial, path)


def replace(partial: Path, path: Path) -> None:
    """Put a file in another's place in one step, on disk when this returns, for its owner's eyes only."""
    partial.chmod(0o600)
    synchronise(partial)
    partial.replace(path)
    synchronise(path.parent)  # or a power cut could bring the old name back, and with it an old ledger


def synchronise(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep a second process from what this file stands for. Raises BlockingIOError where it may not wait."""
    path.touch(mode=0o600)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
