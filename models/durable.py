"""Files that are whole and on disk, or not there: for what must not be lost or go back."""

import os
from pathlib import Path


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
