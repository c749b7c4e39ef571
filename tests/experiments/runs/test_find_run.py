"""Which runs are under a folder, and which of them is the latest."""

import os
from pathlib import Path

import pytest

from terrycloth.experiments.runs.find_run import find_run, runs_under
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError


def begun(path: Path, at: int) -> RunFolder:
    """Create a run that began `at` seconds after 1970 and has not ended."""
    path.mkdir(parents=True)
    run = RunFolder(path)
    run.write_config(RunConfig(devices=30))
    os.utime(run.config, (at, at))
    return run


def test_runs_are_found_newest_first_and_nothing_else(tmp_path: Path) -> None:
    for name, at in (("b", 20), ("a", 30), ("c", 10)):
        begun(tmp_path / name, at)
    (tmp_path / "frontier-x").mkdir()
    (tmp_path / "file").touch()
    assert [run.path.name for run in runs_under(tmp_path)] == ["a", "b", "c"]
    assert runs_under(tmp_path / "none") == []


def test_latest_is_the_newest_finished_run(
    copied: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no finished run under runs"):
        find_run(Path("latest"))
    (tmp_path / "runs").mkdir()
    copied.path.rename(tmp_path / "runs" / "old")
    begun(tmp_path / "runs" / "new", 2**31)
    assert find_run(Path("latest")) == Path("runs/old")
    assert find_run(Path("latest"), finished=False) == Path("runs/new")
    (tmp_path / "runs" / "new" / "config.toml").unlink()
    with pytest.raises(UserError, match="there is no unfinished run under runs"):
        find_run(Path("latest"), finished=False)


def test_a_folder_named_latest_takes_precedence(
    copied: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copied.path.rename(tmp_path / "latest")
    assert find_run(Path("latest")) == Path("latest")


def test_a_folder_without_a_finished_run_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none does not exist"):
        find_run(tmp_path / "none")
    with pytest.raises(UserError, match="holds no finished run"):
        find_run(begun(tmp_path / "run", 1).path)
