"""A simulated full disk: writing certain files fails for want of space."""

import errno
import os
from pathlib import Path

import pytest


def full_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every later write of a file whose name starts with `name` fail, because no space is left."""
    real = Path.write_bytes

    def write(path: Path, content: bytes) -> int:
        if path.name.startswith(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
