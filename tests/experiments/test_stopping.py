"""An interrupt prints one line that says what is kept and how to continue."""

import sys
from pathlib import Path

import pytest

from terrycloth.experiments import cli
from terrycloth.experiments.commands.stopping import Stopped, folder_stopped, run_stopped, when_stopped
from terrycloth.experiments.runs import simulation
from terrycloth.experiments.runs.run_folder import RunFolder


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_only_an_interrupt_is_turned_into_a_line() -> None:
    with pytest.raises(Stopped, match=r"^kept$"), when_stopped(lambda: "kept"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="a bug"), when_stopped(lambda: "kept"):
        raise ValueError("a bug")


def test_the_message_after_a_run_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "a run"
    folder = RunFolder(path)
    assert run_stopped(path) == "stopped before the first round was done; nothing is kept"
    path.mkdir()
    folder.rounds.touch()
    assert run_stopped(path) == f"stopped; go on with: terry simulate --resume --out '{path}'"
    folder.result.touch()
    assert run_stopped(path) == f"stopped; the run is finished: {path}"


def test_the_message_after_a_frontier_or_a_search_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["terry", "frontier", "--out", "my grid"])
    assert folder_stopped(tmp_path / "none") == "stopped; nothing is kept"
    assert folder_stopped(tmp_path) == (
        f"stopped; what is finished is kept in {tmp_path}; go on with: terry frontier --out 'my grid'"
    )


SIMULATE = ["simulate", "--devices", "30", "--rounds", "2", "--set", "central=false", "--out", "run"]


class AfterOneRound(simulation.Reporter):
    """This stands for a user who stops a run after one round."""

    def round_done(self, row: dict[str, object]) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("when", "message", "left"),
    [
        ("make_plan", "stopped before the first round was done; nothing is kept", False),
        ("lay_out", "stopped before the first round was done; nothing is kept", False),
        ("federate", "stopped before the first round was done; nothing is kept", False),
        ("a round", "stopped; go on with: terry simulate --resume --out run", True),
        ("compare", "stopped; go on with: terry simulate --resume --out run", True),
    ],
)
def test_an_interrupt_in_each_phase_of_a_run_has_its_message(
    when: str,
    message: str,
    left: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["terry", *SIMULATE, "--quiet"])
    if when == "a round":
        monkeypatch.setattr(simulation, "Reporter", AfterOneRound)
    else:
        monkeypatch.setattr(simulation, when, interrupt)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1:] == [f"terry: {message}"]
    assert (tmp_path / "run").exists() is left


def test_an_interrupt_of_a_command_without_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import terrycloth.experiments.datasets as datasets

    monkeypatch.setattr(datasets, "load", interrupt)
    monkeypatch.setattr(sys, "argv", ["terry", "data", "inspect", "towels"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "terry: stopped; nothing is kept\n"
