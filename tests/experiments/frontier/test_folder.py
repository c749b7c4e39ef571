"""The folder of a frontier: what continues, what is refused, and that nothing in it is lost."""

import errno
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import terrycloth.experiments.frontier.figures
import terrycloth.experiments.frontier.frontier
import terrycloth.experiments.frontier.run_jobs
from terrycloth.experiments.frontier.cell import Job
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.frontier import run_frontier
from terrycloth.experiments.frontier.grid import expand, read_grid
from terrycloth.experiments.frontier.progress import SilentProgress
from terrycloth.experiments.frontier.run_jobs import Failures, do_job
from terrycloth.experiments.runs.run_folder import NoSpace
from terrycloth.experiments.settings.planning import in_use
from terrycloth.models.errors import UserError
from tests.full_disk import full_at

TABLES = [{"devices": [30], "epsilon": [1.0, 4.0], "unit": "shopper", "trust": "central"}]


@pytest.fixture
def folder(tmp_path: Path) -> FrontierFolder:
    folder = FrontierFolder(tmp_path / "new" / "frontier")
    folder.open(TABLES)
    return folder


def test_the_saved_grid_can_be_run_again(folder: FrontierFolder) -> None:
    assert expand(read_grid(folder.grid)) == expand(TABLES)


def test_a_date_in_the_grid_is_saved_unchanged(tmp_path: Path) -> None:
    folder = FrontierFolder(tmp_path / "new")
    tables = [TABLES[0] | {"split": "date", "at": date(2025, 9, 1)}]
    folder.open(tables)
    assert expand(read_grid(folder.grid)) == expand(tables)
    folder.open(tables)


def test_a_grid_may_grow(folder: FrontierFolder) -> None:
    folder.open([TABLES[0] | {"devices": [30, 60]}])
    assert len(expand(read_grid(folder.grid))) == 2 * len(expand(TABLES))


def test_a_grid_that_lacks_earlier_cells_is_refused(folder: FrontierFolder) -> None:
    before = folder.grid.read_bytes()
    with pytest.raises(UserError, match="holds cells that this grid lacks: choose another --out"):
        folder.open([TABLES[0] | {"epsilon": [4.0, 8.0]}])
    assert folder.grid.read_bytes() == before


def test_a_folder_of_another_schema_is_refused_and_not_changed(folder: FrontierFolder) -> None:
    """Schema 1 is older than named splits; its results cannot be read, and one line says so."""
    text = folder.grid.read_text().replace("schema = 2", "schema = 1")
    folder.grid.write_text(text)
    with pytest.raises(
        UserError, match=r"schema 1, but this version reads schema 2.*: choose another --out"
    ) as refused:
        folder.open(TABLES)
    assert "\n" not in str(refused.value)
    assert folder.grid.read_text() == text
    folder.grid.write_text(text := text.replace("schema = 1", "schema = 2") + "setting_of_old = 3\n")
    with pytest.raises(UserError, match=r"or damaged .*'setting_of_old'.*: choose another --out"):
        folder.open(TABLES)
    assert folder.grid.read_text() == text


def test_a_folder_made_with_other_defaults_is_refused(
    folder: FrontierFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.grid.read_bytes()
    folder.open(TABLES)
    monkeypatch.setattr(
        "terrycloth.experiments.frontier.folder.in_use", lambda: "terrycloth 9, defaults abcd"
    )
    with pytest.raises(
        UserError, match=r"begun with terrycloth .*, but this is terrycloth 9.*choose another --out"
    ):
        folder.open(TABLES)
    assert folder.grid.read_bytes() == before


def test_the_digest_in_use_follows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terrycloth.experiments.settings.planning.DEFAULTS", tmp_path)
    seen = {in_use()}
    for text in ("[all]\n", "[all]\ndim = 3\n", "# The same.\n[all]\ndim = 3\n"):
        (tmp_path / "all.toml").write_text(text, encoding="utf-8")
        seen.add(in_use())
    assert len(seen) == 3


@pytest.mark.slow
def test_a_grid_without_any_cell_that_runs_is_an_error(tmp_path: Path) -> None:
    """The table and the page are still written, because they show the reasons."""
    folder = FrontierFolder(tmp_path / "new")
    with pytest.raises(UserError, match="none of the 1 cells could be run: --data movielens needs --path"):
        run_frontier(folder, [{"data": "movielens", "model": "mf", "seeds": 1}], 1, SilentProgress())
    assert folder.page.exists()
    assert folder.csv.exists()


@pytest.mark.slow
def test_a_disk_that_is_full_when_figures_are_drawn_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(terrycloth.experiments.frontier.figures, "draw_all", full)
    with pytest.raises(UserError, match=r"figures cannot be written \(No space left on device\)"):
        run_frontier(
            FrontierFolder(tmp_path / "new"), [{"data": "movielens", "seeds": 1}], 1, SilentProgress()
        )
    assert (tmp_path / "new" / "frontier.csv").exists()


def test_a_cell_that_finds_no_disk_space_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise NoSpace("no space is left: choose another --out")

    folder = FrontierFolder(tmp_path / "new")
    folder.open(TABLES)
    monkeypatch.setattr(terrycloth.experiments.frontier.run_jobs, "run_cell", full)
    reason = f"the disk of {folder.path} is too full: free some space, and run the same command again"
    assert {do_job(folder.path, cell) for cell in expand(TABLES)} == {reason}


@pytest.mark.slow
def test_a_damaged_reference_is_reported(tmp_path: Path) -> None:
    """A damaged reference is neither computed again nor ignored."""
    folder = FrontierFolder(tmp_path / "new")
    table = {"devices": 30, "model": "linear", "baselines": False, "central": False, "seed": 1}
    run_frontier(folder, [table], 1, SilentProgress())
    damaged = next((folder.path / "references").glob("*.json"))
    damaged.write_bytes(b"")
    (reason,) = [
        line for line in run_frontier(folder, [table], 1, SilentProgress()).missing if "damaged" in line
    ]
    assert reason == f"{damaged} is damaged, or of another schema: remove it, and run again"
    assert damaged.read_bytes() == b""


def test_a_bug_in_one_cell_is_raised_after_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: FrontierFolder, jobs: list[Job], *arguments: Any) -> Failures:
        return Failures({job.name: "a bug: ZeroDivisionError" for job in jobs}, [ZeroDivisionError()])

    monkeypatch.setattr(terrycloth.experiments.frontier.frontier, "run_jobs", broken)
    folder = FrontierFolder(tmp_path / "new")
    with pytest.raises(ZeroDivisionError):
        run_frontier(folder, TABLES, 1, SilentProgress())
    assert "a bug: ZeroDivisionError" in folder.csv.read_text()
    assert folder.page.exists()


def test_a_folder_that_is_no_frontier_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("not ours")
    for path in (tmp_path, tmp_path / "theirs.txt"):
        with pytest.raises(UserError, match="something other than a frontier"):
            FrontierFolder(path).open(TABLES)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]


def test_a_folder_killed_before_its_grid_was_written_can_be_used(tmp_path: Path) -> None:
    for name in (".lock", "grid.toml.partial"):
        (tmp_path / name).touch()
    FrontierFolder(tmp_path).open(TABLES)
    assert (tmp_path / "grid.toml").exists()


@pytest.mark.parametrize("name", ["grid.toml", "frontier.csv", "frontier.parquet", "index.html"])
def test_a_full_disk_leaves_the_old_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(folder: FrontierFolder, jobs: list[Job], *arguments: Any) -> Failures:
        return Failures({job.name: "it is a test" for job in jobs}, [])

    monkeypatch.setattr(terrycloth.experiments.frontier.frontier, "run_jobs", failed)
    folder = FrontierFolder(tmp_path / "new")
    with pytest.raises(UserError, match="none of the 6 cells could be run"):
        run_frontier(folder, TABLES, 1, SilentProgress())
    before = (folder.path / name).read_bytes()
    full_at(name, monkeypatch)
    reason = rf"{name} cannot be written \(No space left on device\): fix this and run again"
    with pytest.raises(UserError, match=reason):
        run_frontier(folder, TABLES, 1, SilentProgress())
    assert (folder.path / name).read_bytes() == before


def test_a_full_disk_is_the_reason_for_a_missing_reference(
    folder: FrontierFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"devices": 30, "model": "linear", "baselines": False, "ceiling": False, "seed": 1}
    reference = expand([table])[0].references[0]
    full_at(reference.name, monkeypatch)
    reason = do_job(folder.path, reference)
    assert reason is not None
    assert reason.endswith("cannot be written (No space left on device): fix this and run again")
    assert not folder.finished(reference)
