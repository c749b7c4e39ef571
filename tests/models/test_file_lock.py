"""A locked file or byte keeps a second process out until its file is closed."""

import subprocess
import sys
from pathlib import Path

import pytest

from terrycloth.models.file_lock import lock_byte, lock_file


def taken_elsewhere(path: Path, call: str) -> bool:
    """Return whether another process fails to take a lock of this file now."""
    script = (
        "import sys\nfrom terrycloth.models.file_lock import lock_byte, lock_file\n"
        f"file = open(sys.argv[1], 'r+b')\ntry:\n    {call}\nexcept OSError:\n    sys.exit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode == 3


def test_a_locked_file_is_taken_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file:
        lock_file(file)
        assert taken_elsewhere(path, "lock_file(file, wait=False)")
        with path.open("w") as second, pytest.raises(BlockingIOError):
            lock_file(second, wait=False)
    assert not taken_elsewhere(path, "lock_file(file, wait=False)")


def test_only_the_locked_byte_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("ab") as file:
        lock_byte(file, 2**32)
        assert taken_elsewhere(path, "lock_byte(file, 2**32, wait=False)")
        assert not taken_elsewhere(path, "lock_byte(file, 7, wait=False)")
    assert not taken_elsewhere(path, "lock_byte(file, 2**32, wait=False)")
