"""Locks on files, which keep other processes out. Linux and macOS have them; Windows has none like them.

The operating system releases a lock when its file is closed, however the process ends.
"""

import fcntl
from typing import IO


def lock_file(file: IO[str], *, wait: bool = True) -> None:
    """Lock an open file. Raises BlockingIOError if another holds it and `wait` is False."""
    fcntl.flock(file, _operation(wait))


def lock_byte(file: IO[bytes], byte: int, *, wait: bool = True) -> None:
    """Lock one byte of an open file, so that one file holds many locks. The byte need not exist.

    Raises OSError if another process holds it and `wait` is False.
    """
    fcntl.lockf(file, _operation(wait), 1, byte)


def _operation(wait: bool) -> int:
    return fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
