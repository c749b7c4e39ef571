"""A run resumed from its checkpoint ends exactly like an unbroken one."""

import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import terrycloth.server.checkpoint
from terrycloth.models.errors import UserError
from terrycloth.models.settings import RoundSettings
from terrycloth.server.aggregate import make_optimizer
from terrycloth.server.checkpoint import (
    FILE,
    Progress,
    RoundRecord,
    load_checkpoint,
    run_of_checkpoint,
    save_checkpoint,
)
from terrycloth.server.settings import ServerSettings
from tests.models.test_settings import VALID

SETTINGS = RoundSettings.model_validate({**VALID, "round": 1})

OPTIMIZERS = [
    pytest.param({"server_optimizer": "adam"}, id="adam"),
    pytest.param({"server_optimizer": "adam", "server_weight_decay": 0.1}, id="adam-decay"),
    pytest.param({"server_optimizer": "sgd", "server_momentum": 0.9}, id="sgd-momentum"),
    pytest.param({"server_optimizer": "sgd", "server_momentum": 0.0}, id="sgd"),
]


Parameters = dict[str, nn.Parameter]


def start(choices: dict[str, Any], fill: float = 1.0) -> tuple[Parameters, torch.optim.Optimizer]:
    settings = ServerSettings.model_validate({"catalogue": Path("c"), **choices})
    parameters = {
        "table.weight": nn.Parameter(torch.full((3, 2), fill)),
        "bias.weight": nn.Parameter(torch.full((3, 1), fill)),
    }
    return parameters, make_optimizer(list(parameters.values()), settings)


def advance(parameters: Parameters, optimizer: torch.optim.Optimizer, round: int) -> None:
    generator = torch.Generator().manual_seed(round)
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def record(round: int, epsilon: float | None = 1.5) -> RoundRecord:
    return RoundRecord(
        round=round,
        asked=4,
        answered=3,
        refused={"budget-passed": 1},
        invalid={"not finite": 2},
        epsilon=epsilon,
        bytes_down=36,
        bytes_up=36,
        seconds=0.25,
    )


@pytest.mark.parametrize("choices", OPTIMIZERS)
def test_a_resumed_run_equals_an_unbroken_one(choices: dict[str, Any], tmp_path: Path) -> None:
    unbroken, optimizer = start(choices)
    for round in range(1, 7):
        advance(unbroken, optimizer, round)

    first, optimizer = start(choices)
    progress = Progress()
    for round in range(1, 4):
        advance(first, optimizer, round)
        progress.records.append(record(round))
        save_checkpoint(tmp_path, SETTINGS, first, optimizer, progress)
    second, optimizer = start(choices, fill=-7.0)
    progress = load_checkpoint(tmp_path, SETTINGS, second, optimizer)
    assert progress.rounds_done == 3
    for round in range(4, 7):
        advance(second, optimizer, round)

    for name, parameter in unbroken.items():
        assert torch.equal(second[name], parameter)
    assert not torch.equal(first["table.weight"], unbroken["table.weight"])


@pytest.mark.parametrize("epsilon", [None, 0.0, 7.123456789012345, math.inf])
def test_records_load_unchanged(epsilon: float | None, tmp_path: Path) -> None:
    parameters, optimizer = start({})
    records = [record(1, epsilon), record(2, epsilon)]
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress(records))
    assert load_checkpoint(tmp_path, SETTINGS, parameters, optimizer) == Progress(records)


def test_a_checkpoint_before_the_first_step_loads(tmp_path: Path) -> None:
    """If nobody answered in the first round, the optimiser has no moments yet."""
    parameters, optimizer = start({})
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress([record(1)]))
    other, optimizer = start({}, fill=0.0)
    assert load_checkpoint(tmp_path, SETTINGS, other, optimizer).rounds_done == 1
    assert torch.equal(other["table.weight"], torch.ones(3, 2))


def test_without_a_checkpoint_nothing_is_loaded(tmp_path: Path) -> None:
    parameters, optimizer = start({})
    assert load_checkpoint(tmp_path, SETTINGS, parameters, optimizer) == Progress()
    assert torch.equal(parameters["table.weight"], torch.ones(3, 2))


def test_a_checkpoint_cut_short_while_writing_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters, optimizer = start({})
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress([record(1)]))

    def cut_short(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(terrycloth.server.checkpoint, "save_file", cut_short)
    advance(parameters, optimizer, 2)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress([record(1), record(2)]))
    other, optimizer = start({}, fill=0.0)
    assert load_checkpoint(tmp_path, SETTINGS, other, optimizer).rounds_done == 1
    assert torch.equal(other["table.weight"], torch.ones(3, 2))


@pytest.mark.parametrize("kept", [0, 4, 30, 200, -1], ids=str)
def test_a_damaged_checkpoint_is_a_user_error(kept: int, tmp_path: Path) -> None:
    parameters, optimizer = start({})
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress([record(1)]))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    for read in (
        lambda: load_checkpoint(tmp_path, SETTINGS, parameters, optimizer),
        lambda: run_of_checkpoint(tmp_path),
    ):
        with pytest.raises(UserError, match=r"checkpoint\.safetensors is damaged: remove .*, and start"):
            read()


def test_saving_leaves_one_file_only(tmp_path: Path) -> None:
    parameters, optimizer = start({})
    for count in (1, 2):
        save_checkpoint(
            tmp_path, SETTINGS, parameters, optimizer, Progress([record(r + 1) for r in range(count)])
        )
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_checkpoint_is_synced_before_it_is_renamed_and_the_folder_before_save_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def note_fsync(file: int) -> None:
        done.append("folder on disk" if stat.S_ISDIR(os.fstat(file).st_mode) else "file on disk")
        fsync(file)

    def note_rename(path: Path, target: Path) -> Path:
        done.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_rename)
    parameters, optimizer = start({})
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress())
    assert done == ["file on disk", "renamed", "folder on disk"]


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    parameters, optimizer = start({})
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress([record(1)]))
    other = {"items.weight": nn.Parameter(torch.ones(3, 2))}
    with pytest.raises(KeyError):
        load_checkpoint(tmp_path, SETTINGS, other, torch.optim.SGD(other.values()))


@pytest.mark.parametrize(
    "changes",
    [{"noise_multiplier": 0.5}, {"delta": 1e-6}, {"rounds": 9}, {"learning_rate": 0.2}, {"item_bias": False}],
    ids=str,
)
def test_a_checkpoint_of_other_settings_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    """ε was spent under the old settings, and would be reported as spent under the new ones."""
    parameters, optimizer = start({})
    save_checkpoint(tmp_path, SETTINGS, parameters, optimizer, Progress([record(1)]))
    other, optimizer = start({}, fill=0.0)
    with pytest.raises(UserError, match="other settings"):
        load_checkpoint(tmp_path, SETTINGS.model_copy(update=changes), other, optimizer)
    assert not other["table.weight"].any(), "the model must not be changed"
    again = RoundSettings.model_validate(SETTINGS.model_dump())
    assert load_checkpoint(tmp_path, again, other, optimizer).rounds_done == 1
