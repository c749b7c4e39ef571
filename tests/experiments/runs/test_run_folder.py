"""The folder of a run: its files load unchanged, and a failed start leaves nothing behind."""

import errno
import math
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from safetensors import SafetensorError

import terrycloth.experiments.runs.run_folder
from terrycloth.experiments.runs import simulation
from terrycloth.experiments.runs.run_folder import COLUMNS, NoSpace, RunFolder, choose_path, created
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import resolve
from terrycloth.models.errors import UserError

ROW: dict[str, Any] = {
    "round": 1,
    "epsilon": 0.5,
    "bytes_up": 40,
    "bytes_down": 40,
    "asked": 10,
    "answered": 9,
    "refused": "budget-passed:1",
    "invalid": "",
    "seconds": 0.25,
}


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(unit="interaction", noise_multiplier=1.25, seed=3),
        RunConfig(unit="interaction", noise_multiplier=0.0, clip=0.3, path=Path("/data/ünïcode")),
        RunConfig(model="neural-cf", recency_half_life=2.5, evaluate_sample=0, central=False),
    ],
    ids=lambda config: config.unit,
)
def test_a_resolved_configuration_loads_unchanged_and_stays_resolved(
    config: RunConfig, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    resolved = resolve(config, 50)
    folder.write_config(resolved)
    read = folder.read_config()
    assert read.model_dump() == resolved.model_dump()
    assert resolve(read, 50) == resolved


def test_a_setting_that_can_be_none_has_the_default_none() -> None:
    """TOML has no null, so config.toml leaves out None, which a missing value must become when loaded."""
    for name, field in RunConfig.model_fields.items():
        if field.default is not None:
            with pytest.raises(ValidationError):
                RunConfig.model_validate({name: None})


def test_config_holds_infinity_and_the_versions(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(resolve(RunConfig(), 50))
    values = tomllib.loads(folder.config.read_text(encoding="utf-8"))
    assert values["clip"] == math.inf
    assert set(values["versions"]) == {"terrycloth", "torch", "flwr", "opacus"}


@pytest.mark.parametrize("text", [None, "this is not TOML", b"\xff\xfe"])
def test_a_folder_without_a_configuration_is_a_user_error(text: Any, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(UserError, match=r"nowhere does not exist$"):
        RunFolder(tmp_path / "nowhere").read_config()


@pytest.mark.parametrize(
    ("line", "message"),
    [('unit = "planet"', "--unit planet"), ("dim = 0", "--dim 0"), ("dims = 4", "no setting 'dims'")],
)
def test_an_invalid_edit_of_the_configuration_is_a_user_error(
    line: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(line + "\n")
    with pytest.raises(UserError) as caught:
        RunFolder(tmp_path).read_config()
    assert message in str(caught.value)
    assert "config.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rounds_load_as_text_with_all_columns(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_rounds([ROW, {**ROW, "round": 2, "hr@10": 0.125}])
    header = folder.rounds.read_text().splitlines()[0]
    assert header.split(",") == COLUMNS
    first, second = folder.read_rounds()
    assert first == {name: str(ROW.get(name, "")) for name in COLUMNS}
    assert (second["round"], second["hr@10"]) == ("2", "0.125")


def test_rounds_survive_being_read_and_written_again(tmp_path: Path) -> None:
    """A resumed run writes the rows that it read, and not a byte may change."""
    folder = RunFolder(tmp_path)
    folder.write_rounds([ROW, {**ROW, "round": 2, "epsilon": 1.0 / 3.0, "invalid": "not-finite:2"}])
    text = folder.rounds.read_bytes()
    folder.write_rounds(folder.read_rounds())
    assert folder.rounds.read_bytes() == text


@pytest.mark.parametrize("kept", [60, 150, -3], ids=str)
def test_damaged_rounds_are_a_user_error(kept: int, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_rounds([ROW, {**ROW, "round": 2}])
    folder.rounds.write_bytes(folder.rounds.read_bytes()[:kept].rpartition(b",")[0])
    with pytest.raises(UserError, match=r"rounds\.csv is damaged: remove .* and run it again"):
        folder.read_rounds()
    folder.write_rounds([{**ROW, "round": 2}])
    with pytest.raises(UserError, match=r"rounds\.csv is damaged"):
        folder.read_rounds()
    folder.rounds.write_bytes(b"round\n\xff\n")
    with pytest.raises(UserError, match=r"rounds\.csv is damaged"):
        folder.read_rounds()


def test_a_run_without_rounds_has_an_empty_list(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).read_rounds() == []


def test_an_unknown_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shopper"):
        RunFolder(tmp_path).write_rounds([{**ROW, "shopper": 7}])
    assert not list(tmp_path.iterdir())


def test_an_unfinished_run_has_no_result(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        RunFolder(tmp_path).read_result()
    (tmp_path / "result.json").write_text('{"schema": 0}')
    with pytest.raises(UserError, match=r"result.json is damaged, or of another schema than 2: remove .*"):
        RunFolder(tmp_path).read_result()


def test_writing_replaces_and_leaves_no_partial_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for rows in ([ROW], [ROW, {**ROW, "round": 2}]):
        folder.write_rounds(rows)
    folder.write_config(RunConfig())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "rounds.csv"]
    assert len(folder.read_rounds()) == 2


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--out"):
        choose_path(tmp_path, "towels", "mf")
    assert choose_path(tmp_path / "new", "towels", "mf") == tmp_path / "new"


def test_the_default_name_has_the_date_the_data_and_the_model() -> None:
    path = choose_path(None, "towels", "mf")
    assert path.parent == Path("runs")
    assert re.fullmatch(r"\d{8}-\d{6}-towels-mf", path.name)


def run_and_fail(path: Path, work: Callable[[RunFolder], object], error: BaseException) -> None:
    with created(path, 0) as folder:
        work(folder)
        raise error


def test_a_failed_start_leaves_nothing_not_even_parent_folders(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(RuntimeError, match="no luck"):
        run_and_fail(
            tmp_path / "kept" / "a" / "b",
            lambda folder: (folder.path / "half").write_text("x"),
            RuntimeError("no luck"),
        )
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_parent_folders_that_others_use_are_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run_and_fail(tmp_path / "a" / "b", lambda folder: (tmp_path / "a" / "other").mkdir(), RuntimeError())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "other"]


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()], ids=repr)
def test_after_a_round_the_folder_is_kept_for_resuming(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        run_and_fail(tmp_path / "run", lambda folder: folder.write_rounds([ROW]), error)
    assert RunFolder(tmp_path / "run").read_rounds()


def test_a_run_that_ends_well_keeps_its_folder(tmp_path: Path) -> None:
    with created(tmp_path / "run", 0) as folder:
        folder.write_config(RunConfig())
    assert (tmp_path / "run" / "config.toml").exists()


def test_a_folder_that_another_run_created_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    """Two runs started in the same second have one default name; neither may delete the other's folder."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.toml").write_text("theirs")
    with pytest.raises(UserError, match="exists"), created(path, 0):
        pytest.fail("it must not start")
    assert (path / "config.toml").read_text() == "theirs"


def test_too_little_space_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MiB free"), created(tmp_path / "run", 2**70):
        pytest.fail("it must not start")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="no space is left"), created(tmp_path / "run", 0):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_when_a_run_is_resumed_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`write_whole` raises the system's error, as on a full disk."""

    def full(*arguments: Any, **named: Any) -> None:
        RunFolder(tmp_path).write_config(RunConfig())

    write_bytes = Path.write_bytes

    def no_room(path: Path, *arguments: Any, **named: Any) -> int:
        if path.suffix == ".partial":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, *arguments, **named)

    (tmp_path / "devices").mkdir()
    RunFolder(tmp_path).write_config(RunConfig())
    before = (tmp_path / "config.toml").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", no_room)
    monkeypatch.setattr(simulation, "make_plan", lambda config, reporter: SimpleNamespace(dataset=None))
    monkeypatch.setattr(simulation, "fingerprint", lambda dataset: "")
    monkeypatch.setattr(simulation, "run", full)
    with pytest.raises(UserError, match=f"no space is left for {tmp_path}: free some, then --resume --out"):
        simulation.resume(tmp_path)
    assert (tmp_path / "config.toml").read_bytes() == before


@pytest.mark.parametrize(
    "error",
    [
        OSError("3001 requested and 496 written"),  # numpy.save
        SafetensorError("I/O error: No space left on device (os error 28)"),
        RuntimeError("every node failed in round 1; the log says where"),
    ],
    ids=repr,
)
def test_every_error_of_a_full_disk_is_recognised(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are the errors of libraries on a real full disk."""
    full = SimpleNamespace(total=9, used=9, free=0)

    def fill(folder: RunFolder) -> None:
        monkeypatch.setattr(terrycloth.experiments.runs.run_folder.shutil, "disk_usage", lambda path: full)

    with pytest.raises(UserError, match="no space is left"):
        run_and_fail(tmp_path / "run", fill, error)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_created_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*arguments: Any, **named: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "file").write_text("theirs")
    with pytest.raises(UserError, match="Not a directory"), created(tmp_path / "file" / "run", 0):
        pytest.fail("it must not start")
    assert (tmp_path / "file").read_text() == "theirs"
    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(UserError, match="Permission denied"), created(tmp_path / "run", 0):
        pytest.fail("it must not start")


def test_any_other_error_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), created(tmp_path / "run", 0):
        raise PermissionError(errno.EACCES, "of some other file")
    assert not list(tmp_path.iterdir())
