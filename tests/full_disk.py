"""A disk that is full for some files."""

import errno
import os
from pathlib import Path

import pytest


def full_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on there is no space for a file whose name starts so."""
    real = Path.write_bytes

    def write(path: Path, content: bytes) -> int:
        if path.name.startswith(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
