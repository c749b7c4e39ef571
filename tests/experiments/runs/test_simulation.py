"""A small federation from data to folder: its files, its promise, its events in order, and its repetition."""

import csv
import json
import math
import shutil
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from flwr.app import Error, Message
from pydantic import ValidationError
from safetensors.torch import load_file

import terrycloth.experiments.runs.simulation
import terrycloth.experiments.settings.planning
from terrycloth.client.events import Events
from terrycloth.client.policy import policy_of
from terrycloth.client.serving import Serving
from terrycloth.client.targets import Targets
from terrycloth.client.training.trainers import TRAINERS
from terrycloth.client.training.vmap_trainer import VmapTrainer
from terrycloth.experiments.baselines import BASELINES, label_of, missing_libraries
from terrycloth.experiments.cli import main
from terrycloth.experiments.datasets import data_options, load
from terrycloth.experiments.engines.in_process import InProcessGrid
from terrycloth.experiments.evaluation.metric_table import METRICS
from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.evaluation.split import make_split, rule_for, validation_split
from terrycloth.experiments.reports.figures import floor_of
from terrycloth.experiments.runs.fingerprint import fingerprint
from terrycloth.experiments.runs.result import Result
from terrycloth.experiments.runs.run_folder import COLUMNS, RunFolder
from terrycloth.experiments.runs.simulation import (
    Reporter,
    RunPlan,
    make_plan,
    needed_bytes,
    resume,
    simulate,
)
from terrycloth.experiments.settings.config import RunConfig, read_config
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import epsilon_spent
from terrycloth.models.privacy.promise import rounded_up
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.factorisation import Factorisation
from terrycloth.models.recommenders.kinds import PLUG_IN, Solver
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import RoundSettings
from terrycloth.server.strategy import FederatedSum
from tests.experiments.conftest import TINY

FILES = {
    "config.toml",
    "rounds.csv",
    "result.json",
    "result.schema.json",
    "model.safetensors",
    "catalogue.parquet",
    "figures/accuracy.png",
    "figures/accuracy.svg",
    "checkpoint.safetensors",
    "newest-checkpoint.json",
    "server.lock",
    "run.lock",
    "data.fingerprint",
}
DEVICES = {
    "devices/catalogue.parquet",
    "devices/devices.lock",
    "devices/policy.toml",
    "devices/seed",
    "devices/state-0-of-1.lock",
    "devices/state-0-of-1.safetensors",
    *(f"devices/events/{name}.npy" for name in ("offsets", "items", "times", "weights")),
    *(f"devices/targets/{name}.npy" for name in ("offsets", "items")),
}
PLAIN = RunConfig(devices=20, rounds=2, evaluate_every=0, central=False)


class RecordingReporter(Reporter):
    """A reporter that records its calls."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.plan: RunPlan | None = None

    def planned(self, plan: RunPlan) -> None:
        self.plan = plan
        self.lines.append("planned")

    def round_done(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.lines.append(f"round {row['round']}")

    def doing(self, what: str, steps: int | None = None) -> None:
        self.lines.append(what)


def files(folder: RunFolder) -> set[str]:
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}


# --- The folder -------------------------------------------------------------------------------------------


def test_the_folder_holds_exactly_the_documented_files(finished: RunFolder) -> None:
    assert files(finished) == FILES | DEVICES


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unit": "interaction", "epsilon": 4.0},
        {"unit": "shopper", "trust": "distributed", "noise_multiplier": 2.0, "evaluate": "released"},
    ],
    ids=str,
)
def test_devices_allow_the_queries_of_their_run_and_no_others(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = simulate(PLAIN.model_copy(update=changes), tmp_path / "run")
    assert {row["refused"] for row in folder.read_rounds()} == {""}
    plan = make_plan(PLAIN.model_copy(update=changes))
    settings = plan.config.settings
    allowed = policy_of(folder.devices, None)
    assert allowed.most_epsilon == (math.inf if plan.promise.epsilon is None else plan.promise.epsilon)
    assert allowed.objection(settings) is None
    for other in ({"rounds": 3}, {"model": "mf"}, {"unit": "shopper", "trust": "local"}, {"delta": 0.01}):
        assert allowed.objection(settings.model_copy(update=other)) is not None


@pytest.mark.slow
def test_a_run_without_a_seed_writes_no_seed(drawn_runs: None, tmp_path: Path) -> None:
    folder = simulate(PLAIN, tmp_path / "run")
    assert files(folder) == FILES | DEVICES - {"devices/seed"}
    assert not folder.read_result().promise.seeded


def test_the_result_states_its_promise(finished: RunFolder) -> None:
    result = Result.model_validate_json(finished.result.read_text(encoding="utf-8"))
    promise = result.promise
    assert (promise.unit, promise.trust, promise.rounds, promise.seeded) == ("interaction", "local", 2, True)
    assert promise.noise_multiplier == 1.0
    assert promise.delta == 1e-5
    assert (
        promise.epsilon
        == epsilon_spent(1.0, promise.sampling_rate, 2 * promise.steps_per_round, 1e-5).epsilon
    )
    schema = json.loads((finished.path / "result.schema.json").read_text(encoding="utf-8"))
    assert schema == Result.model_json_schema(by_alias=True)
    with pytest.raises(ValidationError):
        Result.model_validate({**json.loads(finished.result.read_text()), "promise": None})


def test_the_result_counts_training_events_and_targets(finished: RunFolder) -> None:
    data = finished.read_result().data
    events = Events.load(finished.devices / "events")
    assert (data.name, data.devices, data.events) == ("towels", 30, len(events))
    assert data.items == len(Catalogue.load(finished.catalogue))
    dataset = load("towels", data_options(TINY))
    split = make_split(dataset, rule_for(dataset, "date"))
    targets = Targets.load(finished.devices / "targets")
    assert data.tested == (targets.counts > 0).sum() > 10
    assert data.targets == len(targets) == len(split.test.targets) > data.tested
    assert targets.items.tolist() == split.test.targets.items.tolist()
    assert (data.split, data.at, data.repeats) == ("date", split.rule.date, False)
    assert data.split_sentence == split.rule.sentence
    assert data.events == len(split.train) < len(dataset.events)
    assert (events.times < split.rule.at).all()
    held = set(zip(events.devices.tolist(), events.items.tolist(), strict=True))
    for device, item in zip(targets.devices.tolist(), targets.items.tolist(), strict=True):
        assert (device, item) not in held, "no device may hold a held-out item"


def test_the_rounds_are_a_table_with_all_columns(finished: RunFolder) -> None:
    with finished.rounds.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    assert [row["round"] for row in rows] == ["1", "2"]
    assert [(row["asked"], row["answered"], row["refused"], row["invalid"]) for row in rows] == [
        ("30", "30", "", "")
    ] * 2
    result = finished.read_result()
    spent = [float(row["epsilon"]) for row in rows]
    assert spent[0] < spent[1] == result.promise.epsilon
    assert {int(row["bytes_up"]) for row in rows} == {result.cost.bytes_up_per_device_round}
    full, sampled = result.metrics.full, result.metrics.sampled99
    assert float(rows[1]["hr@10"]) == full["hr@10"]
    assert float(rows[1]["ndcg@10"]) == full["ndcg@10"]
    assert float(rows[1]["sampled_hr@10"]) == sampled["hr@10"]
    assert float(rows[1]["sampled_ndcg@10"]) == sampled["ndcg@10"]
    assert all(float(row["seconds"]) >= 0 for row in rows)


def test_the_saved_model_has_the_configured_shapes(finished: RunFolder) -> None:
    config = make_plan(finished.read_config()).config
    model = build_model(
        config.model,
        Catalogue.load(finished.catalogue),
        dim=config.dim,
        own_rows=config.own_rows,
        item_bias=config.item_bias,
    )
    model.load_shared(load_file(finished.model))
    assert any(tensor.any() for tensor in model.shared_parameters().values())


def test_the_figures_can_be_opened(finished: RunFolder) -> None:
    assert (finished.figures / "accuracy.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (finished.figures / "accuracy.png").stat().st_size > 10_000
    drawn = ElementTree.parse(finished.figures / "accuracy.svg").getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join("".join(drawn.itertext()).split())
    floor = floor_of(finished.read_result())
    assert floor is not None
    of_floor = f"below {label_of(floor[0])}"
    central = "central attributes, no promise"
    for word in (
        "HR@10",
        "round",
        of_floor,
        central,
        "towels by date: 30 devices",
        "; the test is",
        "ε = ",
    ):
        assert word in words, "a figure must state what it shows, and its promise"


# --- Repetition -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_seeded_run_is_repeated_from_its_configuration_to_the_bit(
    finished: RunFolder, drawn_runs: None, tmp_path: Path
) -> None:
    again = simulate(read_config(finished.config, {}, []), tmp_path / "again")
    assert again.model.read_bytes() == finished.model.read_bytes()
    assert again.config.read_bytes() == finished.config.read_bytes()
    for name in ("accuracy.png", "accuracy.svg"):
        assert (again.figures / name).read_bytes() == (finished.figures / name).read_bytes()
    one, other = finished.read_result(), again.read_result()
    left_out = {"cost": None, "date": None}
    assert one.model_copy(update=left_out) == other.model_copy(update=left_out)
    ours, theirs = ([{**row, "seconds": ""} for row in folder.read_rounds()] for folder in (finished, again))
    assert ours == theirs


@pytest.mark.slow
def test_another_seed_and_no_seed_give_another_model(finished: RunFolder, tmp_path: Path) -> None:
    noise = [load_file(finished.model)]
    for name, seed in (("eight", 8), ("none", None), ("none-again", None)):
        config = TINY.model_copy(update={"seed": seed, "central": False})
        noise.append(load_file(simulate(config, tmp_path / name).model))
    for place, one in enumerate(noise):
        for other in noise[:place]:
            assert not torch.equal(one["table.weight"], other["table.weight"])


def test_the_distance_to_the_ceiling_is_paired_by_shopper(finished: RunFolder) -> None:
    result = finished.read_result()
    own = result.metrics.full["hr@10"]
    for ceiling in result.baselines.ceiling.values():
        assert own is not None
        assert ceiling["difference"] == pytest.approx(own - ceiling["hr@10"], abs=1e-12)
        assert ceiling["difference_low"] <= ceiling["difference"] <= ceiling["difference_high"]
        assert ceiling["difference_low"] < ceiling["difference_high"]


@pytest.mark.slow
def test_the_number_of_nodes_does_not_change_the_result(tmp_path: Path) -> None:
    """The reference draws a device's noise the same on any node; sums differ only by their order."""
    config = TINY.model_copy(update={"trainer": "reference", "central": False})
    whole = simulate(config, tmp_path / "one")
    folder = simulate(config.model_copy(update={"nodes": 3}), tmp_path / "three")
    assert len(list(folder.devices.glob("state-*-of-3.safetensors"))) == 3
    for name, tensor in load_file(whole.model).items():
        torch.testing.assert_close(load_file(folder.model)[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_computing_device_of_a_run_reaches_its_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class OnThisMachine(VmapTrainer):
        def __init__(self, model: Recommender, settings: RoundSettings, torch_device: str) -> None:
            seen.append(torch_device)
            super().__init__(model, settings)

    replaced = TRAINERS[Solver.GRADIENT]._replace(together=dict.fromkeys(PLUG_IN.units, OnThisMachine))
    monkeypatch.setitem(TRAINERS, Solver.GRADIENT, replaced)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    changes = {"model": "neural-cf", "torch_device": "cuda", "central": False, "rounds": 1}
    simulate(TINY.model_copy(update=changes), tmp_path / "run")
    assert seen == ["cuda"]


def test_resuming_a_finished_run_changes_nothing(copied: RunFolder) -> None:
    before = {name: (copied.path / name).read_bytes() for name in files(copied)}
    reporter = RecordingReporter()
    assert resume(copied.path, reporter).path == copied.path
    assert reporter.lines == []
    assert {name: (copied.path / name).read_bytes() for name in files(copied)} == before


def test_a_run_is_not_resumed_with_other_data(copied: RunFolder) -> None:
    copied.result.unlink()
    text = copied.config.read_text(encoding="utf-8")
    copied.config.write_text(text.replace("data_seed = 0\n", "data_seed = 1\n"), encoding="utf-8")
    before = {name: (copied.path / name).read_bytes() for name in files(copied)}
    with pytest.raises(UserError, match=r"data of .* have changed since the run began"):
        resume(copied.path)
    assert {name: (copied.path / name).read_bytes() for name in files(copied)} == before


def test_the_fingerprint_changes_with_one_event_or_one_word_of_the_catalogue() -> None:
    dataset = load("towels", data_options(PLAIN))
    first = fingerprint(dataset)
    assert fingerprint(load("towels", data_options(PLAIN))) == first
    weights = dataset.events.weights.copy()
    weights[-1] += 1
    assert fingerprint(replace(dataset, events=replace(dataset.events, weights=weights))) != first
    table = dataset.catalogue.table.copy()
    table.loc[0, "title"] = "another title"
    assert fingerprint(replace(dataset, catalogue=Catalogue(table))) != first


def test_a_second_run_on_one_folder_is_refused(copied: RunFolder) -> None:
    copied.result.unlink()
    with copied.locked(), pytest.raises(UserError, match=r"another terry is at work in .*copied"):
        resume(copied.path)
    with copied.locked():
        pass  # the lock is free again


@pytest.mark.parametrize("left", [set(), {"devices"}, {"devices", "catalogue.parquet", "data.fingerprint"}])
def test_an_interrupted_start_is_reported_in_one_line(left: set[str], copied: RunFolder) -> None:
    """A killed start leaves what was written so far, and config.toml is written last."""
    for path in copied.path.iterdir():
        if path.name not in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=r"or its start was interrupted: it has no config\.toml"):
        resume(copied.path)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_model_that_diverges_is_reported_in_one_line(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = FederatedSum.step

    def diverging(self: FederatedSum, *arguments: Any) -> None:
        step(self, *arguments)
        next(iter(self.parameters.values())).data[0] = value

    monkeypatch.setattr(FederatedSum, "step", diverging)
    with pytest.raises(UserError, match=r"the model diverged: by round 1 .* lower server_learning_rate"):
        simulate(PLAIN, tmp_path / "run")


@pytest.mark.slow
def test_a_run_stopped_before_its_result_gets_the_same_result(
    finished: RunFolder, drawn_runs: None, copied: RunFolder
) -> None:
    copied.result.unlink()
    copied.model.unlink()
    shutil.rmtree(copied.figures)
    reporter = RecordingReporter()
    resume(copied.path, reporter)
    assert reporter.lines[2:4] == ["planned", "round 2"], (
        "the last round is reported again, and none is run twice"
    )
    assert copied.model.read_bytes() == finished.model.read_bytes()
    assert copied.read_result().metrics == finished.read_result().metrics
    assert files(copied) == files(finished)


# --- Reports and output -----------------------------------------------------------------------------------


def test_a_reporter_gets_the_events_in_order(tmp_path: Path) -> None:
    reporter = RecordingReporter()
    folder = simulate(
        PLAIN.model_copy(update={"rounds": 3, "evaluate_every": 2, "central": True}),
        tmp_path / "run",
        reporter,
    )
    assert reporter.lines == [
        "reading the data",
        "finding the noise and the promise",
        "laying out the devices",
        "planned",
        "round 1",
        "round 2",
        "round 3",
        "measuring",
        "training the same model centrally",
        "tuning popularity, recent popularity, nothing released",
        "finding the ceiling",
        "drawing",
    ]
    assert reporter.plan is not None
    assert reporter.plan.promise == folder.read_result().promise
    assert ["hr@10" in row for row in reporter.rows] == [False, True, True], (
        "every second round and the last are evaluated"
    )
    assert [row["epsilon"] for row in reporter.rows] == [None] * 3
    assert [row["round"] for row in folder.read_rounds()] == ["1", "2", "3"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("promise", "regularisation"), [({}, 9.0), ({"unit": "shopper", "trust": "central", "epsilon": 8.0}, 5.0)]
)
def test_the_central_model_uses_the_settings_unless_they_are_for_noise(
    promise: dict[str, Any],
    regularisation: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[tuple[float, int, float]] = []

    def train(
        model: Factorisation, events: Events, serving: Serving, *, weight_decay: float, **_: Any
    ) -> None:
        trained.append((serving.regularisation, model.dim, weight_decay))

    monkeypatch.setattr(terrycloth.experiments.runs.simulation, "train_centrally", train)
    given = {"central": True, "regularisation": 9.0, "dim": 3, "model": "mf"}
    simulate(RunConfig.model_validate({**PLAIN.model_dump(), **given, **promise}), tmp_path / "run")
    assert trained == [(regularisation, 32 if promise else 3, 0.01)]


def test_a_central_model_that_is_switched_off_is_neither_trained_nor_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terrycloth.experiments.runs.simulation, "train_centrally", None)
    reporter = RecordingReporter()
    folder = simulate(PLAIN, tmp_path / "run", reporter)
    assert folder.read_result().baselines.of("central") is None
    assert not any("centrally" in line for line in reporter.lines)
    assert not any("hr@10" in row for row in reporter.rows), "evaluate_every is 0"


def test_quiet_prints_the_path_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = ["--devices", "20", "--rounds", "1", "--set", "central=false", "--out", "a/run", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["terry", "simulate", *wanted])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out == "a/run\n"
    assert RunFolder(tmp_path / "a" / "run").read_result().data.devices == 20


def test_the_output_ends_with_the_promise_and_the_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = ["--devices", "20", "--rounds", "1", "--unit", "interaction", "--noise-multiplier", "2"]
    monkeypatch.setattr(sys, "argv", ["terry", "simulate", *wanted, "--set", "central=false", "--out", "run"])
    with pytest.raises(SystemExit):
        main()
    text = capsys.readouterr().out
    assert "20 devices hold" in text
    assert "any one interaction" in text
    assert "round 1: HR@10" in text
    assert "federated" in text
    assert text.endswith("run folder: run\n")
    promise = RunFolder(tmp_path / "run").read_result().promise
    assert text.count(f"ε = {rounded_up(promise.epsilon)}") >= 2, (
        "once before the first round, and once with the result"
    )


# --- Failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_run_whose_nodes_all_fail_ends_with_an_error(
    nodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(grid: Any, messages: Any, **named: Any) -> list[Message]:
        return [Message(Error(code=1, reason="training failed"), reply_to=message) for message in messages]

    monkeypatch.setattr(InProcessGrid, "send_and_receive", fail)
    with pytest.raises(RuntimeError, match="every node failed in round 1"):
        simulate(PLAIN.model_copy(update={"nodes": nodes}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_node_that_fails_is_counted_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = InProcessGrid.send_and_receive

    def fail(grid: Any, messages: Any, **named: Any) -> list[Message]:
        asked = list(messages)
        gone = [Message(Error(code=1, reason="gone"), reply_to=message) for message in asked[:1]]
        return [*gone, *answer(grid, asked[1:])]

    monkeypatch.setattr(InProcessGrid, "send_and_receive", fail)
    folder = simulate(PLAIN.model_copy(update={"nodes": 2}), tmp_path / "run")
    assert [row["invalid"] for row in folder.read_rounds()] == ["node-failed:1"] * 2
    assert [row["answered"] for row in folder.read_rounds()] == ["10"] * 2


@pytest.mark.slow
def test_a_table_of_rounds_too_far_behind_the_checkpoint_is_damaged(tmp_path: Path) -> None:
    """A stop between the two loses at most one line, which is written again."""
    folder = simulate(PLAIN.model_copy(update={"rounds": 3}), tmp_path / "run")
    rows = folder.read_rounds()
    folder.result.unlink()
    folder.write_rounds(rows[:2])
    assert resume(folder.path).read_rounds() == rows
    folder.result.unlink()
    folder.write_rounds(rows[:1])
    with pytest.raises(UserError, match=r"rounds\.csv is damaged"):
        resume(folder.path)


def test_a_run_without_participants_has_no_result(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no device took part"):
        simulate(PLAIN.model_copy(update={"participation": 1e-9}), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_plan_writes_nothing_and_estimates_enough_space(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_plan(TINY)
    assert not list(tmp_path.iterdir())
    assert needed_bytes(plan) > sum((finished.path / name).stat().st_size for name in files(finished))


# --- Baselines and ceilings -------------------------------------------------------------------------------


def test_a_run_with_a_promise_has_floors_under_the_same_promise(finished: RunFolder) -> None:
    result = finished.read_result()
    for name in ("private_popularity", "private_recent_popularity"):
        private = result.baselines.of(name)
        assert private is not None
        assert private.full["hr@10"] is not None
        assert private.promise is not None
        assert (private.promise.unit, private.promise.trust) == ("interaction", "local")
        assert (private.promise.delta, private.promise.rounds) == (result.promise.delta, 1)
        assert private.promise.epsilon is not None
        assert result.promise.epsilon is not None
        assert 0.998 * result.promise.epsilon < private.promise.epsilon <= result.promise.epsilon


@pytest.mark.slow
def test_without_a_promise_there_are_no_private_floors_or_default_strong_baselines(
    tmp_path: Path,
) -> None:
    config = RunConfig(devices=30, rounds=1, seed=0, central=False)
    baselines = simulate(config, tmp_path / "run").read_result().baselines
    assert set(baselines.found) == {"popularity", "recent_popularity", "nothing_released"}
    assert baselines.left_out == [], "a baseline that needs repeats is not listed without them"
    without = simulate(config.model_copy(update={"floors": False}), tmp_path / "without").read_result()
    assert (without.baselines.found, without.baselines.left_out) == ({}, [])


@pytest.mark.slow
@pytest.mark.skipif(missing_libraries() is not None, reason="libraries of baselines are not installed")
def test_strong_baselines_are_computed_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRYCLOTH_SEQUENCE_PYTHON", str(tmp_path / "absent"))
    few: dict[str, list[dict[str, float]]] = {
        "ease": [{"lambda": 30.0}, {"lambda": 300.0}],
        "ials": [
            {"factors": 4, "regularisation": 10.0, "alpha": 1.0, "iterations": count} for count in (5.0, 10.0)
        ],
    }
    for name, fits in few.items():
        monkeypatch.setitem(
            BASELINES, name, replace(BASELINES[name], fits=tuple(fits), serves=({"half-life": 2.0},))
        )
    for name in ("co_occurrence", "item_knn"):
        row = BASELINES[name]
        monkeypatch.setitem(BASELINES, name, replace(row, fits=row.fits[:1], serves=row.serves[:2]))
    config = RunConfig(devices=30, rounds=1, seed=0, central=False, floors=False, baselines=True)
    baselines = simulate(config, tmp_path / "run").read_result().baselines
    assert set(baselines.found) == {"ease", "ials", "co_occurrence", "item_knn"}
    for name, fits in few.items():
        found = baselines.of(name)
        assert found is not None
        assert found.settings in [{**each, "half-life": 2.0} for each in fits]
        assert found.full["hr@10"] is not None


@pytest.mark.slow
def test_no_model_is_above_the_ceiling_of_the_same_shoppers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paired by shopper: the oracle is clearly above the model, and no ceiling is below it."""
    ranked: list[Ranks] = []
    measure = terrycloth.experiments.runs.simulation.rank_targets

    def kept(*arguments: Any, **named: Any) -> Ranks:
        ranked.append(measure(*arguments, **named))
        return ranked[-1]

    monkeypatch.setattr(terrycloth.experiments.runs.simulation, "rank_targets", kept)
    config = RunConfig(
        devices=400, rounds=20, seed=3, evaluate_every=0, central=False, floors=False, evaluate_sample=200
    )
    result = simulate(config, tmp_path / "run").read_result()
    assert set(result.baselines.ceiling) == {"oracle", "history"}
    model, *ceilings = ranked
    assert result.data.tested == len(model.devices) == 200
    for name, ceiling in zip(result.baselines.ceiling, ceilings, strict=True):
        assert ceiling.devices.tolist() == model.devices.tolist()
        assert ceiling.shoppers.tolist() == model.shoppers.tolist()
        assert result.baselines.ceiling[name]["hr@10"] == pytest.approx(
            float(METRICS["hr@10"].by_shopper(ceiling).mean())
        )
        reached = METRICS["ndcg@10"].by_shopper(ceiling) - METRICS["ndcg@10"].by_shopper(model)
        assert float(reached.mean()) > -5 * float(reached.std()) / 200**0.5, name
    oracle = METRICS["ndcg@10"].by_shopper(ceilings[0]) - METRICS["ndcg@10"].by_shopper(model)
    assert float(oracle.mean()) > 3 * float(oracle.std()) / 200**0.5, (
        "the oracle must be clearly above the model"
    )


# --- Splits -----------------------------------------------------------------------------------------------

DRAWN = np.random.default_rng(4).integers([30, 8, 12, 5], size=(260, 4)).tolist()
COLOURS, SIZES = ("sand", "moss", "blue"), ("bath", "hand")


def csv_files(folder: Path, shuffled: int | None = None) -> dict[str, Any]:
    """Write a shop of thirty shoppers and twelve items with visits of several, in file order or shuffled."""
    lines = [
        f"s{shopper * 7 % 30},{shop_item(item)},2025-0{1 + day % 2}-{10 + 2 * day:02d},{1 + count % 2}"
        for shopper, day, item, count in DRAWN
    ]
    items = [f"{shop_item(n)},towel {n},{COLOURS[n % 3]},{SIZES[n % 2]}" for n in range(12)]
    if shuffled is not None:
        generator = np.random.default_rng(shuffled)
        lines, items = ([rows[n] for n in generator.permutation(len(rows))] for rows in (lines, items))
    folder.mkdir(exist_ok=True)
    orders, catalogue = folder / "orders.csv", folder / "items.csv"
    orders.write_text("\n".join(["shopper,item,date,quantity", *lines]) + "\n")
    catalogue.write_text("\n".join(["item,title,colour,size", *items]) + "\n")
    return {"data": "csv", "path": orders, "catalogue": catalogue}


def shop_item(number: int) -> str:
    return f"{'BA'[number % 2]}{number}"


MODELS: dict[str, dict[str, Any]] = {
    "linear": {"model": "linear", "unit": "shopper", "trust": "central", "epsilon": 50.0},
    "attributes": {"model": "attributes", "rounds": 2, "dim": 4},
    "mf": {"model": "mf", "unit": "interaction", "noise_multiplier": 1.0, "rounds": 2, "central": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["date", "next-visit"])
@pytest.mark.parametrize("model", MODELS)
def test_shuffled_rows_give_the_same_model_and_figures_to_the_last_bit(
    model: str, split: str, tmp_path: Path
) -> None:
    found = []
    for name, order in (("as-it-is", None), ("shuffled", 1)):
        files = csv_files(tmp_path / name, order)
        config = RunConfig.model_validate({**files, **MODELS[model], "split": split, "seed": 5})
        folder = simulate(config, tmp_path / name / "run")
        found.append((folder.model.read_bytes(), figures_of(folder), rounds_of(folder)))
    assert found[0][1]["data"]["tested"] > 15
    assert found[0][1]["data"]["targets"] > found[0][1]["data"]["tested"]
    assert found[1] == found[0]


def rounds_of(folder: RunFolder) -> list[dict[str, Any]]:
    return [{**row, "seconds": ""} for row in folder.read_rounds()]


def figures_of(folder: RunFolder) -> dict[str, Any]:
    """Return result.json without dates, times and the machine."""
    read: dict[str, Any] = json.loads(folder.result.read_text(encoding="utf-8"))
    del read["cost"], read["date"]
    return read


@pytest.mark.slow
@pytest.mark.parametrize(("given", "at"), [(None, "2025-02-20"), (0.5, "2025-02-12"), ("2025-02-14", None)])
def test_the_date_is_computed_once_and_kept_by_a_resumed_run(
    given: Any, at: str | None, tmp_path: Path
) -> None:
    """Even if more was bought since: the recorded date is public, and no new date is computed."""
    at = at or given
    files = csv_files(tmp_path / "shop")
    config = RunConfig.model_validate({**files, "rounds": 2, "seed": 5, "central": False, "at": given})
    folder = simulate(config, tmp_path / "run")
    whole = figures_of(folder)
    kept = tomllib.loads(folder.config.read_text(encoding="utf-8"))
    midnight = int(datetime.fromisoformat(str(at)).replace(tzinfo=UTC).timestamp())
    assert (kept["split"], kept["at"], kept["now"]) == ("date", at, midnight)
    with pytest.raises(UserError, match="remove now"):
        make_plan(config.model_copy(update={"now": midnight + 1}))
    assert (whole["data"]["split"], whole["data"]["at"]) == ("date", at)
    assert str(at) in whole["data"]["split_sentence"]

    first, again = make_plan(config).split, make_plan(folder.read_config()).split
    assert again.rule == first.rule
    earlier = [validation_split(split, 12).rule.at for split in (first, again)]
    assert earlier[0] == earlier[1], "tuning must use the same validation split"
    before = folder.config.read_bytes()
    folder.result.unlink()
    assert figures_of(resume(folder.path)) == whole
    assert folder.config.read_bytes() == before

    with Path(files["path"]).open("a") as orders:
        orders.writelines(f"s{day},A1,2025-06-{day},1\n" for day in range(10, 30) for _ in range(9))
    grown = make_plan(folder.read_config())
    assert (grown.config.at, grown.config.now, grown.split.rule) == (at, midnight, first.rule)
    assert (make_plan(config).config.at == at) is (given == at), "computed again, the date would differ"


def test_without_a_date_ages_are_counted_from_the_midnight_after_all_events(tmp_path: Path) -> None:
    files = csv_files(tmp_path / "shop")
    config = make_plan(RunConfig.model_validate({**files, "split": "next-visit"})).config
    assert (config.split, config.at) == ("next-visit", None)
    assert config.now == int(datetime(2025, 2, 25, tzinfo=UTC).timestamp())


@pytest.mark.slow
def test_repeats_are_reported_separately_if_they_are_targets(tmp_path: Path) -> None:
    files = csv_files(tmp_path / "shop")
    common = {**files, "rounds": 2, "seed": 5, "central": False}
    for split in ("date", "next-visit"):
        results = [
            simulate(
                RunConfig.model_validate({**common, "split": split, "repeats": repeats}),
                tmp_path / f"{split}-{repeats}",
            ).read_result()
            for repeats in ("exclude", "include")
        ]
        new, both = results
        assert "new_hr@10" not in new.metrics.full
        assert (new.data.repeats, both.data.repeats) == (False, True)
        assert both.data.targets > new.data.targets
        for name in ("new_hr@10", "repeated_hr@10"):
            assert 0.0 <= (both.metrics.full[name] or 0.0) <= 1.0
            popular = both.baselines.of("popularity")
            assert popular is not None
            assert name in popular.full
        assert both.baselines.of("own_frequency") is not None
        assert new.baselines.of("own_frequency") is None


def test_shoppers_first_seen_after_the_date_are_reported_separately(tmp_path: Path) -> None:
    """Two shoppers come late, one with two visits and one with one; neither trains or is in the main test."""
    files = csv_files(tmp_path / "shop")
    with Path(files["path"]).open("a") as orders:
        orders.write("late,A1,2025-02-23,1\nlate,B2,2025-02-23,1\nlate,A3,2025-02-24,1\n")
        orders.write("later,B4,2025-02-24,1\n")
    config = RunConfig.model_validate({**files, "rounds": 2, "seed": 5, "central": False, "at": "2025-02-20"})
    result = simulate(config, tmp_path / "run").read_result()
    unseen = result.metrics.unseen
    assert {name: figures["visits"] for name, figures in unseen.items()} == {
        "first visit": 2.0,
        "later visits": 1.0,
    }
    assert all(0.0 <= (figures["hr@10"] or 0.0) <= 1.0 for figures in unseen.values())
    assert (result.data.devices, result.data.tested <= 30) == (32, True)
    other = config.model_copy(update={"split": "next-visit", "at": None})
    assert simulate(other, tmp_path / "other").read_result().metrics.unseen == {}


# --- Data sets without times ------------------------------------------------------------------------------


def timeless(folder: Path) -> dict[str, Any]:
    files = csv_files(folder)
    lines = Path(files["path"]).read_text().splitlines()
    cut = [",".join((row.split(",")[0], row.split(",")[1], row.split(",")[3])) for row in lines]
    Path(files["path"]).write_text("\n".join(cut) + "\n")
    return files


@pytest.mark.slow
def test_without_times_half_lives_have_no_effect(tmp_path: Path) -> None:
    """All events of a shopper are one visit, so no order is learned or served, whatever half-life is set."""
    files = timeless(tmp_path / "shop")
    common = {**files, "model": "linear", "seed": 5, "unit": "shopper", "trust": "central", "epsilon": 50.0}
    half_lives = ("kernel_half_life", "recency_half_life", "popularity_half_life")
    found = []
    for value in (0.0, 2.0):
        given = {**common, **dict.fromkeys(half_lives, value)}
        folder = simulate(RunConfig.model_validate(given), tmp_path / f"run-{value:g}")
        found.append((folder.model.read_bytes(), figures_of(folder)))
    assert found[0] == found[1]
    data = found[0][1]["data"]
    assert (data["split"], data["at"]) == ("last-item", None)
    assert "without times" in data["split_sentence"]
    assert folder.read_config().now == 0


@pytest.mark.parametrize("split", ["next-visit", "date", "basket"])
def test_without_times_a_split_that_needs_them_is_refused_in_one_line(
    split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = timeless(tmp_path / "shop")
    given = ["--data", "csv", "--path", str(files["path"]), "--catalogue", str(files["catalogue"])]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["terry", "simulate", *given, "--split", split])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"--split {split} needs times" in printed.err
    assert "use --split last-item" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
