"""What a result records about its source and its machine, and what it must not record."""

import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrycloth.experiments.runs import provenance
from terrycloth.experiments.runs.run_folder import RunFolder


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Replace the source file by one in a separate checkout."""
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(provenance, "SOURCE", tmp_path / "source.py")
    provenance.commit.cache_clear()
    yield tmp_path / "source.py"
    provenance.commit.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_the_source_is_marked_dirty_if_files_differ(source: Path) -> None:
    source.write_text("1")
    git(source.parent, "add", source.name)
    git(source.parent, "commit", "--quiet", "-m", "one")
    head = git(source.parent, "rev-parse", "HEAD")
    assert provenance.commit() == head
    source.write_text("2")
    provenance.commit.cache_clear()
    assert provenance.commit() == f"{head}-dirty"


def test_an_installed_package_has_no_commit_even_inside_another_checkout(source: Path) -> None:
    source.write_text("1")
    (source.parent / "other").write_text("1")
    git(source.parent, "add", "other")
    git(source.parent, "commit", "--quiet", "-m", "of something else")
    assert provenance.commit() is None


def test_without_git_there_is_no_commit(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/not/here")
    assert provenance.commit() is None


def test_a_result_has_its_date_and_kind_of_machine_but_not_its_name(finished: RunFolder) -> None:
    result = finished.read_result()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", result.date or "")
    assert result.machine is not None
    assert result.machine.platform == f"{platform.system()} {platform.machine()}"
    assert result.machine.cores >= 1
    assert platform.node() not in finished.result.read_text(encoding="utf-8")
