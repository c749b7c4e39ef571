"""Private files cannot be read by other users, and no second process changes them."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from terrycloth.models.durable import locked, owner_only, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def permissive_umask():
    """Set the most permissive umask, under which every new file would be open to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_and_folders_made_in_the_block_are_private(tmp_path):
    with owner_only():
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "file").write_text("")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/file")] == [0o700, 0o700, 0o600]
    (tmp_path / "later").write_text("")
    assert mode(tmp_path / "later") == 0o666, "the block did not restore the umask"


def test_a_block_that_fails_restores_the_umask(tmp_path):
    with pytest.raises(ZeroDivisionError), owner_only():
        raise ZeroDivisionError
    (tmp_path / "later").write_text("")
    assert mode(tmp_path / "later") == 0o666


def test_a_private_file_is_private_before_anything_is_written(tmp_path, monkeypatch):
    seen = []
    real = Path.write_bytes

    def write(path: Path, content: bytes) -> int:
        seen.append(mode(path))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    write_private(tmp_path / "file.json", b"one")
    write_private(tmp_path / "file.json", b"two")
    assert seen == [0o600, 0o600]
    assert mode(tmp_path / "file.json") == 0o600
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file.json", b"two")]


def free(path: Path) -> bool:
    """Return whether another process could take the lock now."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_lock_keeps_others_out_until_its_block_is_left(tmp_path):
    with locked(tmp_path / "lock"):
        assert not free(tmp_path / "lock")
    assert free(tmp_path / "lock")


def test_a_block_that_fails_leaves_no_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    assert free(tmp_path / "lock")


def test_a_process_that_does_not_wait_gets_an_error(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
        pass
    with locked(tmp_path / "lock", wait=False):
        assert not free(tmp_path / "lock")
