"""A tiny federation from data to folder: every file, the promise, the events in order, and the same again."""

import csv
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from experiments.library_baselines import missing
from flwr.app import Error, Message
from pydantic import ValidationError
from safetensors.torch import load_file

import experiments.planning
import experiments.simulation
from client.batched_trainer import BatchedTrainer
from client.events import Events
from client.policy import policy_of
from client.serving import Serving
from experiments.cli import main
from experiments.config import RunConfig, read_config
from experiments.datasets import load
from experiments.datasets.dataset import Dataset
from experiments.engines.in_process import InProcessGrid
from experiments.result import Result
from experiments.run_folder import COLUMNS, RunFolder
from experiments.simulation import Plan, Reporter, data_options, make_plan, needed_bytes, resume, simulate
from experiments.split import leave_one_out
from models.accounting import epsilon_spent
from models.build import build_model
from models.catalogue import Catalogue
from models.errors import UserError
from models.factorisation import Factorisation
from models.promise import rounded_up
from models.recommender import Recommender
from models.settings import RoundSettings
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
}
DEVICES = {
    "devices/catalogue.parquet",
    "devices/held-out.npy",
    "devices/farm.lock",
    "devices/policy.toml",
    "devices/seed",
    "devices/state-0-of-1.lock",
    "devices/state-0-of-1.safetensors",
    *(f"devices/events/{name}.npy" for name in ("offsets", "items", "times", "weights")),
}
PLAIN = RunConfig(devices=20, rounds=2, evaluate_every=0, central=False)


class Diary(Reporter):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.plan: Plan | None = None

    def planned(self, plan: Plan) -> None:
        self.plan = plan
        self.lines.append("planned")

    def round_done(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.lines.append(f"round {row['round']}")

    def doing(self, what: str) -> None:
        self.lines.append(what)


def files(folder: RunFolder) -> set[str]:
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}


# --- The folder -------------------------------------------------------------------------------------------


def test_the_folder_holds_exactly_what_it_says(finished: RunFolder) -> None:
    assert files(finished) == FILES | DEVICES


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unit": "interaction", "epsilon": 4.0},
        {"unit": "shopper", "trust": "distributed", "noise_multiplier": 2.0, "evaluate": "released"},
    ],
    ids=str,
)
def test_devices_allow_what_their_run_asks_and_nothing_beyond(
    changes: dict[str, Any], tmp_path: Path, quick_ceiling: None
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


def test_a_run_without_a_seed_keeps_none(tmp_path: Path, quick_ceiling: None) -> None:
    folder = simulate(PLAIN, tmp_path / "run")
    assert files(folder) == FILES | DEVICES - {"devices/seed"}
    assert not folder.read_result().promise.seeded


def test_the_result_holds_its_promise(finished: RunFolder) -> None:
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


def test_the_result_counts_what_was_trained_on(finished: RunFolder) -> None:
    data = finished.read_result().data
    events = Events.load(finished.devices / "events")
    assert (data.name, data.devices, data.events) == ("towels", 30, len(events))
    assert data.items == len(Catalogue.load(finished.catalogue))
    dataset = load("towels", data_options(TINY))
    split = leave_one_out(dataset)
    assert data.tested == (split.held_out >= 0).sum() > 10
    assert len(events) < len(dataset.events)
    for device, item in enumerate(split.held_out.tolist()):
        assert item not in events.span(device, device + 1).items, "a device holds what is held out"


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
    assert float(rows[1]["hr@10"]) == full.hr_at_10
    assert float(rows[1]["ndcg@10"]) == full.ndcg_at_10
    assert float(rows[1]["sampled_hr@10"]) == sampled.hr_at_10
    assert float(rows[1]["sampled_ndcg@10"]) == sampled.ndcg_at_10
    assert all(float(row["seconds"]) >= 0 for row in rows)


def test_the_model_is_what_the_configuration_says(finished: RunFolder) -> None:
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
    for word in ("HR@10", "round", "popularity", "central, no privacy", "towels: 30 devices", "ε = "):
        assert word in words, "a figure says what it shows, and its promise"


# --- The same again ---------------------------------------------------------------------------------------


def test_a_seeded_run_is_repeated_from_its_configuration_to_the_bit(
    finished: RunFolder, tmp_path: Path, quick_ceiling: None
) -> None:
    again = simulate(read_config(finished.config, {}, []), tmp_path / "again")
    assert again.model.read_bytes() == finished.model.read_bytes()
    assert again.config.read_bytes() == finished.config.read_bytes()
    for name in ("accuracy.png", "accuracy.svg"):
        assert (again.figures / name).read_bytes() == (finished.figures / name).read_bytes()
    one, other = finished.read_result(), again.read_result()
    assert one.model_copy(update={"cost": None}) == other.model_copy(update={"cost": None})
    ours, theirs = ([{**row, "seconds": ""} for row in folder.read_rounds()] for folder in (finished, again))
    assert ours == theirs


def test_another_seed_and_no_seed_give_another_model(
    finished: RunFolder, tmp_path: Path, quick_ceiling: None
) -> None:
    noise = [load_file(finished.model)]
    for name, seed in (("eight", 8), ("none", None), ("none-again", None)):
        config = TINY.model_copy(update={"seed": seed, "central": False})
        noise.append(load_file(simulate(config, tmp_path / name).model))
    for place, one in enumerate(noise):
        for other in noise[:place]:
            assert not torch.equal(one["table.weight"], other["table.weight"])


def test_nodes_share_the_devices_out_and_change_nothing(tmp_path: Path, quick_ceiling: None) -> None:
    """The reference draws a device's noise whichever node it is on; sums differ by their order alone."""
    config = TINY.model_copy(update={"trainer": "opacus", "central": False})
    whole = simulate(config, tmp_path / "one")
    folder = simulate(config.model_copy(update={"nodes": 3}), tmp_path / "three")
    assert len(list(folder.devices.glob("state-*-of-3.safetensors"))) == 3
    for name, tensor in load_file(whole.model).items():
        torch.testing.assert_close(load_file(folder.model)[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_device_of_a_run_is_its_trainers(
    tmp_path: Path, quick_ceiling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class OnThisMachine(BatchedTrainer):
        def __init__(self, model: Recommender, settings: RoundSettings, torch_device: str) -> None:
            seen.append(torch_device)
            super().__init__(model, settings)

    monkeypatch.setattr("client.batched_trainer.BatchedTrainer", OnThisMachine)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    changes = {"model": "neural-cf", "torch_device": "cuda", "central": False, "rounds": 1}
    simulate(TINY.model_copy(update=changes), tmp_path / "run")
    assert seen == ["cuda"]


def test_a_finished_run_is_left_as_it_is(copied: RunFolder) -> None:
    before = {name: (copied.path / name).read_bytes() for name in files(copied)}
    diary = Diary()
    assert resume(copied.path, diary).path == copied.path
    assert diary.lines == []
    assert {name: (copied.path / name).read_bytes() for name in files(copied)} == before


def test_a_run_that_stopped_before_its_result_gets_the_same_one(
    finished: RunFolder, copied: RunFolder, quick_ceiling: None
) -> None:
    copied.result.unlink()
    copied.model.unlink()
    shutil.rmtree(copied.figures)
    diary = Diary()
    resume(copied.path, diary)
    assert diary.lines[:2] == ["planned", "round 2"], "the last round is told again, and none is run twice"
    assert copied.model.read_bytes() == finished.model.read_bytes()
    assert copied.read_result().metrics == finished.read_result().metrics
    assert files(copied) == files(finished)


# --- What is told -----------------------------------------------------------------------------------------


def test_a_reporter_hears_the_events_in_order(tmp_path: Path, quick_ceiling: None) -> None:
    diary = Diary()
    folder = simulate(
        PLAIN.model_copy(update={"rounds": 3, "evaluate_every": 2, "central": True}), tmp_path / "run", diary
    )
    assert diary.lines == [
        "planned",
        "round 1",
        "round 2",
        "round 3",
        "measuring",
        "training the same model centrally",
        "finding the ceiling",
        "drawing",
    ]
    assert diary.plan is not None
    assert diary.plan.promise == folder.read_result().promise
    assert ["hr@10" in row for row in diary.rows] == [False, True, True], "every second, and the last"
    assert [row["epsilon"] for row in diary.rows] == [None] * 3
    assert [row["round"] for row in folder.read_rounds()] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("promise", "regularisation"), [({}, 9.0), ({"unit": "shopper", "trust": "central", "epsilon": 8.0}, 5.0)]
)
def test_the_central_model_has_what_is_said_unless_it_is_said_for_noise(
    promise: dict[str, Any],
    regularisation: float,
    tmp_path: Path,
    quick_ceiling: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[tuple[float, int, float]] = []

    def train(
        model: Factorisation, events: Events, serving: Serving, *, weight_decay: float, **_: Any
    ) -> None:
        trained.append((serving.regularisation, model.dim, weight_decay))

    monkeypatch.setattr(experiments.simulation, "train_centrally", train)
    said = {"central": True, "regularisation": 9.0, "dim": 3, "model": "mf"}
    simulate(RunConfig.model_validate({**PLAIN.model_dump(), **said, **promise}), tmp_path / "run")
    assert trained == [(regularisation, 32 if promise else 3, 0.01)]


def test_without_the_central_model_it_is_neither_trained_nor_told(
    tmp_path: Path, quick_ceiling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments.simulation, "train_centrally", None)
    diary = Diary()
    folder = simulate(PLAIN, tmp_path / "run", diary)
    assert folder.read_result().baselines.central is None
    assert not any("centrally" in line for line in diary.lines)
    assert not any("hr@10" in row for row in diary.rows), "evaluate_every is 0"


def test_quiet_prints_the_path_and_nothing_else(
    tmp_path: Path,
    quick_ceiling: None,
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


def test_what_is_printed_ends_with_the_promise_and_the_folder(
    tmp_path: Path,
    quick_ceiling: None,
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
        "before the first round, and beside the result"
    )


# --- What goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 3])
def test_when_every_node_fails_the_run_ends_as_a_bug(
    nodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(grid: Any, messages: Any, **named: Any) -> list[Message]:
        return [Message(Error(code=1, reason="training failed"), reply_to=message) for message in messages]

    monkeypatch.setattr(InProcessGrid, "send_and_receive", fail)
    with pytest.raises(RuntimeError, match="every node failed in round 1"):
        simulate(PLAIN.model_copy(update={"nodes": nodes}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_one_node_that_fails_is_counted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_ceiling: None
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


def test_rounds_that_are_behind_the_checkpoint_are_damaged(tmp_path: Path, quick_ceiling: None) -> None:
    """A stop between the two loses one line at most, which is written again."""
    folder = simulate(PLAIN.model_copy(update={"rounds": 3}), tmp_path / "run")
    rows = folder.read_rounds()
    folder.result.unlink()
    folder.write_rounds(rows[:2])
    assert resume(folder.path).read_rounds() == rows
    folder.result.unlink()
    folder.write_rounds(rows[:1])
    with pytest.raises(UserError, match=r"rounds\.csv is damaged"):
        resume(folder.path)


def test_when_no_device_takes_part_there_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no device took part"):
        simulate(PLAIN.model_copy(update={"participation": 1e-9}), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_plan_writes_nothing_and_asks_for_enough_space(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_plan(TINY)
    assert not list(tmp_path.iterdir())
    assert needed_bytes(plan) > sum((finished.path / name).stat().st_size for name in files(finished))


# --- What a data set without times is served and learned by ----------------------------------------------


def test_without_times_no_order_is_learned_from_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(experiments.planning.DEFAULTS / "all.toml", tmp_path)  # and not what was tuned for towels
    monkeypatch.setattr(experiments.planning, "DEFAULTS", tmp_path)
    said = {"devices": 20, "model": "linear"}
    config = make_plan(RunConfig.model_validate(said)).config
    assert (config.kernel_half_life, config.recency_half_life) == (30.0, 5.0)
    real = experiments.simulation.load

    def timeless(*arguments: Any) -> Dataset:
        return replace(real(*arguments), times_known=False)

    monkeypatch.setattr(experiments.simulation, "load", timeless)
    config = make_plan(RunConfig.model_validate(said)).config
    assert (config.kernel_half_life, config.recency_half_life) == (0.0, 0.0)
    assert config.serving.recency_half_life is None
    config = make_plan(RunConfig.model_validate({**said, "kernel_half_life": 9.0})).config
    assert (config.kernel_half_life, config.recency_half_life) == (9.0, 0.0)


def test_popularity_under_the_same_promise_is_beside_every_promise(finished: RunFolder) -> None:
    result = finished.read_result()
    private = result.baselines.private_popularity
    assert private is not None
    assert private.full.hr_at_10 is not None
    assert (private.promise.unit, private.promise.trust) == ("interaction", "local")
    assert (private.promise.delta, private.promise.rounds) == (result.promise.delta, 1)
    assert private.promise.epsilon is not None
    assert result.promise.epsilon is not None
    assert 0.998 * result.promise.epsilon < private.promise.epsilon <= result.promise.epsilon


def test_without_a_promise_there_is_no_private_popularity(quick_ceiling: None, tmp_path: Path) -> None:
    config = RunConfig(devices=30, rounds=1, seed=0, central=False)
    baselines = simulate(config, tmp_path / "run").read_result().baselines
    assert (baselines.private_popularity, baselines.ease, baselines.ials) == (None, None, None)


@pytest.mark.skipif(missing() is not None, reason="EASE and iALS are not installed")
def test_ease_and_ials_are_there_where_they_are_asked_for(
    quick_ceiling: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.library_baselines.EASE_GRID", [{"lambda": 30.0}])
    monkeypatch.setattr(
        "experiments.library_baselines.IALS_GRID",
        [{"factors": 4, "regularisation": 10.0, "alpha": 1.0, "iterations": 5}],
    )
    config = RunConfig(devices=30, rounds=1, seed=0, central=False, baselines=True)
    baselines = simulate(config, tmp_path / "run").read_result().baselines
    assert baselines.ease is not None
    assert baselines.ease.settings == {"lambda": 30.0}
    assert baselines.ials is not None
    assert baselines.ials.settings["iterations"] in (5, 20, 40)
    assert baselines.ials.full.hr_at_10 is not None
