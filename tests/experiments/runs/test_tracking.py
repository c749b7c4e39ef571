"""A run logs the same numbers as its folder holds, with the promise, and no count of devices."""

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.runs import simulation
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.tracking import (
    LIBRARIES,
    load,
    measured_values,
    observing,
    require_libraries,
)
from terrycloth.experiments.settings.config import RunConfig, read_config
from terrycloth.models.errors import UserError

SETTINGS: dict[str, Any] = {
    "devices": 60, "unit": "shopper", "trust": "central", "epsilon": 8.0, "rounds": 4, "evaluate_every": 2,
    "seed": 1, "floors": False, "central": False, "ceiling": False, "log": "csv",
}  # fmt: skip


def missing(name: str) -> str | None:
    try:
        load(name)
    except UserError as error:
        return str(error)
    return None


def facts(folder: RunFolder, kind: str) -> dict[tuple[str, str], str]:
    """Return the rows of log.csv of one kind, by round and name."""
    with (folder.path / "log.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["round"], row["name"]): row["value"] for row in csv.DictReader(file) if row["kind"] == kind
        }


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return simulation.simulate(RunConfig(**SETTINGS), tmp_path_factory.mktemp("log") / "run")


def test_the_log_holds_every_setting_and_the_promise(logged: RunFolder) -> None:
    config, promise = logged.read_config(), logged.read_result().promise
    settings = facts(logged, "setting")
    assert {name for _, name in settings} == config.model_dump(exclude_none=True).keys()
    assert settings["", "dim"] == str(config.dim)
    promise_rows = facts(logged, "promise")
    assert promise_rows["", "label"] == promise.label
    assert promise_rows["", "sentence"] == promise.sentence()
    assert float(promise_rows["", "epsilon"]) == promise.epsilon


def test_the_log_holds_each_evaluated_round_and_no_other(logged: RunFolder) -> None:
    rounds = facts(logged, "round")
    assert {number for number, _ in rounds} == {"2", "4"}
    for row in logged.read_rounds():
        if row["round"] in {"2", "4"}:
            for name in ("hr@10", "ndcg@10", "epsilon", "bytes_up", "seconds"):
                assert float(rounds[row["round"], name]) == float(row[name])


def test_the_log_ends_with_the_result(logged: RunFolder) -> None:
    result, values = logged.read_result(), facts(logged, "result")
    assert float(values["4", "full/hr@10"]) == result.metrics.full["hr@10"]
    assert float(values["4", "sampled99/ndcg@10"]) == result.metrics.sampled99["ndcg@10"]
    assert float(values["4", "epsilon"]) == result.promise.epsilon


def test_the_log_counts_no_devices_and_is_private(logged: RunFolder) -> None:
    names = {name for kind in ("round", "result") for _, name in facts(logged, kind)}
    assert not {
        name for name in names if any(count in name for count in ("asked", "answered", "refused", "invalid"))
    }
    assert (logged.path / "log.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_observers_change_nothing_in_a_run(logged: RunFolder, tmp_path: Path) -> None:
    plain = simulation.simulate(RunConfig(**{**SETTINGS, "log": None}), tmp_path / "plain")
    assert not (plain.path / "log.csv").exists()
    assert plain.model.read_bytes() == logged.model.read_bytes()


@pytest.mark.slow
def test_a_resumed_run_also_logs_the_rounds_before_the_stop(logged: RunFolder, tmp_path: Path) -> None:
    class Stop(simulation.Reporter):
        def round_done(self, row: dict[str, Any]) -> None:
            if row["round"] == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(RunConfig(**SETTINGS), tmp_path / "run", Stop())
    resumed = simulation.resume(tmp_path / "run")
    for kind in ("setting", "promise"):
        assert facts(resumed, kind) == facts(logged, kind)
    same = {key: value for key, value in facts(resumed, "round").items() if key[1] != "seconds"}
    assert same == {key: value for key, value in facts(logged, "round").items() if key[1] != "seconds"}


def test_a_round_that_was_not_evaluated_is_not_logged() -> None:
    costs = {"epsilon": "1.5", "bytes_up": "8", "answered": "7"}
    assert measured_values({**costs, "hr@10": ""}) == {}
    assert measured_values({**costs, "hr@10": "nan"}) == {}
    assert measured_values({**costs, "hr@10": "0.5"}) == {"hr@10": 0.5, "epsilon": 1.5, "bytes_up": 8.0}
    assert measured_values({"hr@10": 0.5, "epsilon": None, "sampled_hr@10": math.nan}) == {"hr@10": 0.5}


@pytest.mark.parametrize(
    ("given", "log"), [("csv", "csv"), ("csv, mlflow", "csv,mlflow"), ("csv,csv", "csv"), (None, None)]
)
def test_trackers_are_named_with_commas(given: str | None, log: str | None) -> None:
    assert RunConfig(log=given).log == log


@pytest.mark.parametrize("given", ["wandb", "csv,wandb", "", "csv,"])
def test_an_unknown_tracker_is_reported_in_one_line(given: str) -> None:
    with pytest.raises(UserError, match=r"^--log .*use mlflow, tensorboard, csv"):
        read_config(None, {"log": given}, [])


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_reported_in_one_line_before_anything_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from terrycloth.experiments import cli

    monkeypatch.setitem(sys.modules, LIBRARIES[name][0], None)
    arguments = [
        "terry",
        "simulate",
        "--devices",
        "30",
        "--log",
        f"csv,{name}",
        "--out",
        str(tmp_path / "run"),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(simulation, "load", lambda *_: pytest.fail("data were read"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f'terry: --log {name} needs {LIBRARIES[name][1]}: pip install "terrycloth[track]", or remove --log'
    ]
    assert not (tmp_path / "run").exists()


def test_no_library_is_needed_for_csv_or_without_a_log() -> None:
    require_libraries(None)
    require_libraries("csv")


PROMISE = {"label": "ε = 8", "sentence": "A promise | of a kind."}


def log_two_rounds(name: str, folder: Path) -> None:
    with observing(name, folder) as observer:
        observer.started({"dim": 8, "model": "mf"}, PROMISE)
        observer.measured(2, {"hr@10": 0.25, "epsilon": 1.5})
        observer.measured(4, {"hr@10": 0.5, "epsilon": 3.0})
        observer.finished(4, {"full/hr@10": 0.5})


@pytest.mark.parametrize("write", [log_two_rounds, lambda *given: [log_two_rounds(*given) for _ in "ab"]])
@pytest.mark.skipif(missing("tensorboard") is not None, reason="tensorboard is not installed")
def test_tensorboard_can_read_the_curves(write: Callable[[str, Path], Any], tmp_path: Path) -> None:
    write("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(each.step, each.value) for each in events.Scalars("round/hr@10")] == [(2, 0.25), (4, 0.5)]
    assert [(each.step, each.value) for each in events.Scalars("result/full/hr@10")] == [(4, 0.5)]
    (text,) = events.Tensors("promise/text_summary")
    assert "A promise" in str(text.tensor_proto.string_val[0], "utf-8")


@pytest.mark.parametrize("write", [log_two_rounds, lambda *given: [log_two_rounds(*given) for _ in "ab"]])
@pytest.mark.skipif(missing("mlflow") is not None, reason="mlflow-skinny is not installed")
def test_mlflow_can_read_the_run(write: Callable[[str, Path], Any], tmp_path: Path) -> None:
    write("mlflow", tmp_path)
    client = load("mlflow").MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("terrycloth")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"dim": "8", "model": "mf"}
    assert run.data.tags["promise.label"] == "ε = 8"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "round/hr_at_10")
    assert [(each.step, each.value) for each in history] == [(2, 0.25), (4, 0.5)]
    assert run.data.metrics["result/full/hr_at_10"] == 0.5


@pytest.mark.skipif(missing("mlflow") is not None, reason="mlflow-skinny is not installed")
def test_mlflow_records_that_a_run_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), observing("mlflow", tmp_path):
        raise ZeroDivisionError
    client = load("mlflow").MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("terrycloth")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
