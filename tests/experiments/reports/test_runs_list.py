"""Every run under a folder is listed, even one that is unfinished or damaged."""

import json
from pathlib import Path

import pytest

from terrycloth.experiments.reports.runs_list import list_runs, print_runs
from terrycloth.experiments.runs.run_folder import COLUMNS, RunFolder
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError


def test_a_finished_run_is_listed(copied: RunFolder) -> None:
    (run,) = list_runs(copied.path.parent)
    result = copied.read_result()
    assert (run.run, run.date, run.data, run.model) == (str(copied.path), result.date, "towels", "attributes")
    assert run.promise == result.promise.label
    assert run.hit_rate == result.metrics.full["hr@10"]
    assert run.state == "finished"


def test_an_unfinished_run_is_listed_with_its_rounds(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = RunConfig(model="mf", unit="shopper", trust="central", epsilon_asked=4.0, rounds=20)
    folder.write_config(config)
    folder.write_rounds([dict.fromkeys(COLUMNS, 1) | {"round": round} for round in (1, 2, 3)])
    (run,) = list_runs(tmp_path)
    assert (run.data, run.model, run.hit_rate) == ("towels", "mf", None)
    assert run.promise == "shopper level, central trust, ε = 4"
    assert run.state == "3 of 20 rounds"


@pytest.mark.parametrize("damaged", ["config", "rounds", "result"])
def test_a_damaged_run_is_listed(damaged: str, copied: RunFolder) -> None:
    if damaged != "result":
        copied.result.unlink()
    getattr(copied, damaged).write_text("{")
    (run,) = list_runs(copied.path.parent)
    assert (run.state, run.hit_rate) == ("damaged", None)


def test_the_table_and_the_json_of_runs(copied: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied.path.parent
    print_runs(folder, as_json=True)
    (run,) = json.loads(capsys.readouterr().out)
    assert set(run) == {"run", "date", "data", "model", "promise", "hit_rate", "state"}
    print_runs(folder, as_json=False)
    table = capsys.readouterr().out
    assert f"{run['hit_rate']:.4f}" in table
    assert "attributes" in table
    print_runs(copied.path, as_json=False)
    assert capsys.readouterr().out == f"{copied.path} holds no run: terry simulate makes one\n"
    with pytest.raises(UserError, match="is not a folder"):
        list_runs(folder / "none")
