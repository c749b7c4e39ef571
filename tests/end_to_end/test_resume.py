"""A seeded run that is killed and resumed ends exactly like one that was never stopped."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import terrycloth.server.strategy
from terrycloth.client.ledger import Ledger
from terrycloth.client.secure.secure_round import SecureNode
from terrycloth.client.state import DeviceState
from terrycloth.client.training.compiled_trainer import CompiledTrainer
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import Reporter, RoundLog, resume, simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError
from terrycloth.server.checkpoint import FILE
from terrycloth.server.secure.secure_exchange import SecureExchange
from terrycloth.server.strategy import FederatedSum

pytestmark = pytest.mark.slow  # each test runs a federation, and most run it twice

ROUNDS = 4
KINDS: dict[str, dict[str, Any]] = {
    "interaction": {
        "unit": "interaction",
        "noise_multiplier": 1.5,
        "steps_per_round": 2,
        "sampling_rate": 0.6,
    },
    "distributed": {
        "unit": "shopper",
        "trust": "distributed",
        "noise_multiplier": 1.0,
        "secure_aggregation": False,
    },
    "adapted": {
        "unit": "shopper",
        "trust": "central",
        "noise_multiplier": 1.0,
        "clip_quantile": 0.5,
        "evaluate": "released",
    },
    "none": {"unit": "none"},
    "linear": {
        "model": "linear",
        "rounds": 2,
        "server_optimizer": "sgd",
        "unit": "shopper",
        "trust": "central",
        "noise_multiplier": 1.0,
        "evaluate": "released",
    },
}


class Killed(KeyboardInterrupt):
    """This stands for a process that ends, so no code may catch it."""


def config(kind: str) -> RunConfig:
    common = {
        "data": "towels", "devices": 16, "model": "attributes", "dim": 4, "rounds": ROUNDS,
        "participation": 0.7, "nodes": 2, "seed": 11, "central": False, "evaluate_every": 2,
        "server_optimizer": "adam",
    }  # fmt: skip
    return RunConfig.model_validate(common | KINDS[kind])


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def unbroken(kind, tmp_path_factory) -> RunFolder:
    return simulate(config(kind), tmp_path_factory.mktemp("unbroken") / "run")


def rounds(folder: RunFolder) -> list[dict[str, str]]:
    with folder.rounds.open(encoding="utf-8", newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]


def result(folder: RunFolder) -> dict[str, Any]:
    read = json.loads(folder.result.read_text(encoding="utf-8"))
    del (
        read["date"],
        read["cost"]["seconds_total"],
        read["cost"]["seconds_training"],
        read["cost"]["peak_memory_bytes"],
    )
    return read


def states(folder: RunFolder) -> list[DeviceState]:
    return [DeviceState.load(file) for file in sorted(folder.devices.glob("state-*.safetensors"))]


def differences(one: RunFolder, other: RunFolder) -> set[str]:
    """Return what differs between two finished runs, except the times."""
    found = set()
    if one.model.read_bytes() != other.model.read_bytes():
        found.add("model.safetensors")
    if rounds(one) != rounds(other):
        found.add("rounds.csv")
    if result(one) != result(other):
        found.add("result.json")
    for own, others in zip(states(one), states(other), strict=True):
        if not torch.equal(own.vectors, others.vectors):
            found.add("vectors")
        if own.update.keys() != others.update.keys() or not all(
            torch.equal(tensor, others.update[name]) for name, tensor in own.update.items()
        ):
            found.add("answer")
        ledgers: list[Ledger] = [own.ledger, others.ledger]
        if ledgers[0].steps.tolist() != ledgers[1].steps.tolist() or own.asked != others.asked:
            found.add("ledger")
    return found


def on_call(number: int, real: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    """Return the function, made to be killed before (or after) its work at the given call."""
    calls = []

    def wrapped(*args: Any, **rest: Any) -> Any:
        calls.append(1)
        if len(calls) == number and not after:
            raise Killed
        value = real(*args, **rest)
        if len(calls) == number:
            raise Killed
        return value

    return wrapped


def run_until(patch: Callable[[pytest.MonkeyPatch], None], kind: str, out: Path) -> RunFolder:
    with pytest.MonkeyPatch.context() as patched:
        patch(patched)
        with pytest.raises(Killed):
            simulate(config(kind), out)
    assert not RunFolder(out).result.exists()
    return RunFolder(out)


# Two nodes save three times each in round 1 (new, recorded, answered), and twice each in round 2.
SECOND_NODE_BOOKS, SECOND_NODE_ANSWERS = 9, 10
PLACES = {  # all in round 2
    "reported": (RoundLog, "observe", True, 2),  # the observer ran, and the round is in rounds.csv
    # The checkpoint is written, and rounds.csv lacks the round.
    "not reported": (RoundLog, "observe", False, 2),
    # The server has taken its step.
    "before the checkpoint": (
        terrycloth.server.strategy,
        "save_checkpoint",
        False,
        3,
    ),
    "between the checkpoint and its count": (terrycloth.server.strategy, "note_newest", False, 4),
    "before the sum": (FederatedSum, "check", False, 2),  # clients have trained, nothing is added
    "between two nodes": (DeviceState, "save", False, SECOND_NODE_BOOKS),
    "between booking and training": (DeviceState, "save", True, SECOND_NODE_BOOKS),
    "before the answer is stored": (DeviceState, "save", False, SECOND_NODE_ANSWERS),  # training is repeated
}


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_run_ends_like_the_unbroken_one_when_resumed(place, kind, unbroken, tmp_path):
    owner, name, after, call = PLACES[place]
    folder = run_until(
        lambda patched: patched.setattr(owner, name, on_call(call, getattr(owner, name), after=after)),
        kind,
        tmp_path / "run",
    )
    assert len(rounds(folder)) == (2 if place == "reported" else 1)
    if owner is DeviceState:
        second = (1, True) if place == "between two nodes" else (2, False)
        # Nodes are asked in any order, so the second may have any number.
        assert {(state.asked, state.replied) for state in states(folder)} == {(2, True), second}
    resume(folder.path)
    assert differences(folder, unbroken) == set()


def test_a_run_killed_in_every_round_ends_like_the_unbroken_one(kind, unbroken, tmp_path):
    folder = run_until(
        lambda patched: patched.setattr(RoundLog, "observe", on_call(1, RoundLog.observe, after=True)),
        kind,
        tmp_path / "run",
    )
    for _ in range(ROUNDS - 2):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                terrycloth.server.strategy,
                "save_checkpoint",
                on_call(1, terrycloth.server.strategy.save_checkpoint, after=True),
            )
            with pytest.raises(Killed):
                resume(folder.path)
    resume(folder.path)
    assert differences(folder, unbroken) == set()


def test_a_crash_costs_no_device_more_epsilon(kind, unbroken, tmp_path):
    """The repeated round is the same query, so the ledger is the same as in an unbroken run."""
    folder = run_until(
        lambda patched: patched.setattr(FederatedSum, "check", on_call(2, FederatedSum.check)),
        kind,
        tmp_path / "run",
    )
    booked = [state.ledger.steps.sum(axis=1).tolist() for state in states(folder)]
    resume(folder.path)
    steps_a_round = KINDS[kind].get("steps_per_round", 1)
    for state, before, whole in zip(states(folder), booked, states(unbroken), strict=True):
        after = state.ledger.steps.sum(axis=1)
        assert after.tolist() == whole.ledger.steps.sum(axis=1).tolist()
        # These are rounds 3 and 4 and the evaluation; round 2 was recorded before.
        assert ((after - before) <= (2 + (kind == "adapted")) * steps_a_round).all()


MASKED = RunConfig(
    devices=12, rounds=3, unit="shopper", trust="distributed", noise_multiplier=1.0, nodes=3, central=False
)
WITHIN_A_SESSION = {  # the last number is the round that is lost
    "a node, in its third stage, in round 1": (SecureNode, "mask", 2, 1),
    "a node, in its third stage, in round 2": (SecureNode, "mask", 5, 2),
    "the server, before the last stage": (SecureExchange, "close", 2, 2),
    "the server, with the sum": (terrycloth.server.strategy, "sum_updates", 2, 2),
    "the server, in the last round": (SecureExchange, "close", 3, 3),
}


@pytest.mark.parametrize("place", WITHIN_A_SESSION)
def test_a_round_with_an_interrupted_session_is_paid_for_once_and_not_repeated(place, tmp_path):
    """A second session is another query for devices: they would record it, and refuse the last round."""
    owner, name, call, lost = WITHIN_A_SESSION[place]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, on_call(call, getattr(owner, name)))
        patched.setattr(shutil, "rmtree", lambda *rest, **named: None)  # a killed process cleans nothing up
        with pytest.raises(Killed):
            simulate(MASKED, tmp_path / "run")
    folder = resume(tmp_path / "run")
    outcomes = [(row["answered"], row["refused"], row["invalid"]) for row in rounds(folder)]
    whole = ("12", "", "")
    assert outcomes == [*[whole] * (lost - 1), ("0", "", "stopped-within-the-round:3"), *[whole] * (3 - lost)]
    assert [state.ledger.steps.tolist() for state in states(folder)] == [[[3]] * 4] * 3
    assert float(rounds(folder)[-1]["epsilon"]) == result(folder)["promise"]["epsilon"]


TRUSTED = RunConfig(
    devices=12, rounds=1, unit="shopper", trust="central", noise_multiplier=1.0, central=False
)


def test_a_trusted_server_that_released_nothing_repeats_the_query(tmp_path):
    """The devices repeat their sum, which then gets its first noise."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FederatedSum, "released", on_call(1, FederatedSum.released))
        patched.setattr(shutil, "rmtree", lambda *rest, **named: None)  # a killed process cleans nothing up
        with pytest.raises(Killed):
            simulate(TRUSTED, tmp_path / "run")
    folder = resume(tmp_path / "run")
    assert [row["answered"] for row in rounds(folder)] == ["12"]
    assert states(folder)[0].ledger.steps.tolist() == [[1]] * 12


def test_a_trusted_server_without_its_checkpoint_gets_no_second_sum_for_the_same_epsilon(tmp_path):
    """Other noise on the same sum would be another release."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RoundLog, "observe", on_call(1, RoundLog.observe, after=True))
        with pytest.raises(Killed):
            simulate(TRUSTED, tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    with pytest.raises(UserError, match="budget-passed"):
        resume(tmp_path / "run")
    assert states(RunFolder(tmp_path / "run"))[0].ledger.steps.tolist() == [[1]] * 12


def test_an_older_checkpoint_cannot_noise_a_released_sum_again(tmp_path):
    """The devices would repeat their answer unrecorded, and the mean of two releases has half the noise."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FederatedSum, "released", on_call(1, FederatedSum.released))
        patched.setattr(shutil, "rmtree", lambda *rest, **named: None)
        with pytest.raises(Killed):
            simulate(TRUSTED, tmp_path / "run")
    kept = (tmp_path / "run" / FILE).read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RoundLog, "observe", on_call(1, RoundLog.observe, after=True))
        with pytest.raises(Killed):
            resume(tmp_path / "run")
    (tmp_path / "run" / FILE).write_bytes(kept)
    released = rounds(RunFolder(tmp_path / "run"))
    with pytest.raises(UserError, match="older than"):
        resume(tmp_path / "run")
    assert rounds(RunFolder(tmp_path / "run")) == released


def test_epsilon_continues_where_it_stopped(tmp_path):
    folder = run_until(
        lambda patched: patched.setattr(RoundLog, "observe", on_call(2, RoundLog.observe, after=True)),
        "interaction",
        tmp_path / "run",
    )
    stopped = [float(row["epsilon"]) for row in rounds(folder)]
    resume(folder.path)
    finished = [float(row["epsilon"]) for row in rounds(folder)]
    assert finished[:2] == stopped
    assert finished == sorted(finished)
    assert finished[-1] == pytest.approx(result(folder)["promise"]["epsilon"])


def test_resuming_a_finished_run_changes_nothing(unbroken):
    files = {file: file.read_bytes() for file in unbroken.path.rglob("*") if file.is_file()}
    resume(unbroken.path, Reporter())
    assert {file: file.read_bytes() for file in unbroken.path.rglob("*") if file.is_file()} == files


@pytest.mark.parametrize("forgotten", ["optimizer", "state"])
def test_the_comparison_detects_lost_state(forgotten, tmp_path, unbroken, kind):
    """Broken variants: the optimiser's moments are lost, or the devices' vectors and draws start again."""
    if kind == "linear" and forgotten == "optimizer":
        pytest.skip("it has no moments")
    stopped = 1 if kind == "linear" else 2  # a training round is still to come
    folder = run_until(
        lambda patched: patched.setattr(RoundLog, "observe", on_call(stopped, RoundLog.observe, after=True)),
        kind,
        tmp_path / "run",
    )
    with pytest.MonkeyPatch.context() as patched:
        if forgotten == "state":
            for file in folder.devices.glob("state-*"):
                file.unlink()
        else:
            real = terrycloth.server.strategy.load_checkpoint

            def forget(*args: Any) -> Any:
                *_, optimizer = args
                progress = real(*args)
                optimizer.load_state_dict({**optimizer.state_dict(), "state": {}})
                return progress

            patched.setattr(terrycloth.server.strategy, "load_checkpoint", forget)
        resume(folder.path)
    assert "model.safetensors" in differences(folder, unbroken)


def test_the_comparison_detects_draws_that_are_not_keyed(tmp_path, monkeypatch):
    """A broken variant: a device's noise depends on how often its trainer was called."""
    calls = [0]
    real = CompiledTrainer.train

    def counted(trainer: CompiledTrainer, cohort: Any, parameters: Any) -> Any:
        calls[0] += 1
        return real(trainer, type(cohort)(**{**vars(cohort), "query": calls[0]}), parameters)

    monkeypatch.setattr(CompiledTrainer, "train", counted)
    whole = simulate(config("interaction"), tmp_path / "whole")
    calls[0] = 0
    folder = run_until(  # in round 2 the second node has trained, and its answer is lost
        lambda patched: patched.setattr(DeviceState, "save", on_call(SECOND_NODE_ANSWERS, DeviceState.save)),
        "interaction",
        tmp_path / "run",
    )
    resume(folder.path)
    assert "model.safetensors" in differences(folder, whole)
