"""A file is written completely, or the old file remains."""

import errno
import os
from pathlib import Path

import pytest

from terrycloth.experiments.runs.files import write_whole
from terrycloth.models.errors import UserError


def failing_write(path: Path, content: bytes) -> int:
    with path.open("wb") as file:
        file.write(content[:1])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("content", "written"), [("ä\r\n", "ä\r\n".encode()), (b"\xff", b"\xff")])
def test_content_is_written_byte_for_byte(content: str | bytes, written: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    write_whole(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("remedy", "error", "message"),
    [(None, OSError, "No space"), ("do this", UserError, r"a cannot be written \(No space.*\): do this")],
)
def test_a_full_disk_leaves_the_old_file_and_no_other(
    remedy: str | None,
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a").write_bytes(b"before")
    monkeypatch.setattr(Path, "write_bytes", failing_write)
    with pytest.raises(error, match=message):
        write_whole(tmp_path / "a", "after", remedy)
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_result_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    write_whole(tmp_path / "a", "text")
    os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
