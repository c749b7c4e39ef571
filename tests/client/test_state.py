"""A device's state is written completely or not at all, and is private to its owner."""

import json
import math
import os
import stat
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import terrycloth.client.state
from terrycloth.client.ledger import Ledger
from terrycloth.client.state import CorruptState, DeviceState
from terrycloth.models.update import Refusal


@pytest.fixture
def state() -> DeviceState:
    """The state of two devices after three queries."""
    took_part = np.array([True, False])
    yesterday = Ledger.empty(2).after(took_part, 1.3, 0.25, 4)
    return DeviceState(
        vectors=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        took_part=took_part,
        ledger=yesterday.after(took_part, 1.3, 0.25, 4).after(~took_part, 2.0, 1.0, 1),
        day_start=yesterday.steps,
        rounds=np.array([[2, 0, 0], [0, 0, 1]]),
        asked=3,
        query="ab" * 32,
        refused={Refusal.BUDGET: 1, Refusal.DAILY_BUDGET: 2},
        replied=True,
        promise="interaction, local",
        run="a run",
        day="2026-03-29",
        update={"table.weight": torch.tensor([[0.5, -0.0]]), "bias.weight": torch.tensor([[1e-30]])},
    )


def plain(value: object) -> object:
    """Return the bytes of a tensor or array, so that == compares every bit."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    if isinstance(value, Ledger):
        return plain(value.mechanisms), plain(value.steps)
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value


def same_state(one: DeviceState, other: DeviceState) -> bool:
    names = [field.name for field in fields(DeviceState)]
    return all(plain(getattr(one, name)) == plain(getattr(other, name)) for name in names)


def test_a_saved_state_loads_unchanged(state, tmp_path):
    state.save(tmp_path / "state.safetensors")
    assert same_state(DeviceState.load(tmp_path / "state.safetensors"), state)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_new_state_with_an_empty_ledger_loads_unchanged(tmp_path):
    new = DeviceState.new(3, 2)
    new.save(tmp_path / "state.safetensors")
    assert same_state(DeviceState.load(tmp_path / "state.safetensors"), new)


@pytest.mark.parametrize("place", ["half-written", "before-fsync", "before-replace"])
def test_a_crash_while_saving_leaves_the_old_state(place, state, tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    state.save(path)
    old = path.read_bytes()

    def crash(*args: object, **rest: object) -> None:
        if place == "half-written":
            Path(str(args[1])).write_bytes(b"half a fi")
        raise KeyboardInterrupt

    owner, name = {
        "half-written": (terrycloth.client.state, "save_file"),
        "before-fsync": (os, "fsync"),
        "before-replace": (Path, "replace"),
    }[place]
    later = replace(state, asked=4, query="cd" * 32)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crash)
        with pytest.raises(KeyboardInterrupt):
            later.save(path)
    assert path.read_bytes() == old
    later.save(path)  # what the crash left behind does no harm
    assert same_state(DeviceState.load(path), later)


def test_a_state_is_synced_before_it_is_renamed_and_the_folder_before_save_returns(
    state, tmp_path, monkeypatch
):
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
    state.save(tmp_path / "state.safetensors")
    assert done == ["file on disk", "renamed", "folder on disk"]


def test_a_state_file_is_private(state, tmp_path):
    umask = os.umask(0)
    try:
        state.save(tmp_path / "state.safetensors")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "state.safetensors").stat().st_mode) == 0o600


def test_a_state_file_holds_only_known_arrays_and_no_key(state, tmp_path):
    state.save(tmp_path / "state.safetensors")
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        names, facts = set(file.keys()), file.metadata()
    updates = {f"update/{name}" for name in state.update}
    assert names == {"vectors", "took_part", "mechanisms", "steps", "day_start", "rounds", *updates}
    assert set(facts) == {"facts"}
    assert json.loads(facts["facts"]) == {
        "asked": 3,
        "query": "ab" * 32,
        "refused": {"budget-passed": 1, "daily-budget-passed": 2},
        "begun": False,
        "replied": True,
        "promise": "interaction, local",
        "run": "a run",
        "day": "2026-03-29",
    }


# Damage


def rewritten(path: Path, tensors: dict[str, object] | None = None, facts: dict[str, object] | None = None):
    """Write a state file again with some tensors or facts replaced, or removed where they are None."""
    with safe_open(path, framework="pt") as file:
        old_facts = json.loads(file.metadata()["facts"])
    new_tensors = {
        name: value for name, value in (load_file(path) | (tensors or {})).items() if value is not None
    }
    new_facts = {name: value for name, value in (old_facts | (facts or {})).items() if value is not None}
    save_file(new_tensors, path, metadata={"facts": json.dumps(new_facts)})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_corrupt(share, state, tmp_path):
    path = tmp_path / "state.safetensors"
    state.save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CorruptState):
        DeviceState.load(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 4_096, b"\xff" * 4_096, b"steps = 4", b"{}"])
def test_a_file_of_another_kind_is_corrupt(content, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(CorruptState):
        DeviceState.load(tmp_path / "state.safetensors")


def test_a_missing_file_and_a_file_without_facts_are_corrupt(tmp_path):
    with pytest.raises(CorruptState):
        DeviceState.load(tmp_path / "state.safetensors")
    save_file({"steps": torch.zeros(2, 1)}, tmp_path / "state.safetensors")
    with pytest.raises(CorruptState):
        DeviceState.load(tmp_path / "state.safetensors")


STEPS = torch.tensor([[8, 0], [0, 1]])


@pytest.mark.parametrize(
    "tensors",
    [
        *({name: None} for name in ("vectors", "took_part", "mechanisms", "steps", "day_start", "rounds")),
        {"steps": STEPS - 2},
        {"steps": STEPS[:1]},
        {"steps": STEPS[:, :1]},
        {"steps": STEPS[0]},
        {"steps": STEPS.double()},
        {"steps": STEPS.int()},
        {"steps": STEPS + 2**62},
        {"mechanisms": torch.tensor([[1.3, 0.25], [math.nan, 1.0]], dtype=torch.float64)},
        {"mechanisms": torch.tensor([[1.3, 0.25], [math.inf, 1.0]], dtype=torch.float64)},
        {"mechanisms": torch.tensor([[1.3, 0.25], [-2.0, 1.0]], dtype=torch.float64)},
        {"mechanisms": torch.tensor([[1.3, 0.25], [2.0, 1.5]], dtype=torch.float64)},
        {"mechanisms": torch.tensor([[1.3, 0.25], [2.0, 1.0]])},
        {"mechanisms": torch.ones(1, 2, dtype=torch.float64)},
        {"mechanisms": torch.ones(2, 3, dtype=torch.float64)},
        {"day_start": STEPS + 1},
        {"day_start": STEPS - 2},
        {"day_start": 0 * STEPS[:1]},
        {"day_start": torch.zeros(2, 3, dtype=torch.int64)},
        {"day_start": STEPS.double()},
        {"rounds": torch.zeros(2, 2, dtype=torch.int64)},
        {"rounds": torch.zeros(1, 3, dtype=torch.int64)},
        {"rounds": torch.zeros(2, 3)},
        {"rounds": torch.full((2, 3), -1)},
        {"took_part": torch.tensor([True])},
        {"took_part": torch.tensor([1, 0])},
        {"vectors": torch.zeros(3, 2)},
        {"vectors": torch.zeros(2)},
        {"vectors": torch.zeros(2, 2, dtype=torch.float64)},
    ],
    ids=lambda tensors: "".join(f"{name} {value}" for name, value in tensors.items()).replace("\n", "")[:60],
)
def test_impossible_tensors_are_corrupt(tensors, state, tmp_path):
    path = tmp_path / "state.safetensors"
    state.save(path)
    rewritten(path)
    assert same_state(DeviceState.load(path), state)
    rewritten(path, {name: value if value is None else value.clone() for name, value in tensors.items()})
    with pytest.raises(CorruptState):
        DeviceState.load(path)


@pytest.mark.parametrize(
    "facts",
    [
        {"asked": -1},
        {"asked": 1.5},
        {"asked": True},
        {"asked": "3"},
        {"query": 7},
        {"query": None},
        {"promise": 7},
        {"run": 7},
        {"replied": 1},
        {"refused": 1},
        {"refused": {"bad-mood": 1}},
        {"refused": {"budget-passed": -1}},
        {"refused": None},
        {"day": "29 March"},
        {"day": 20260329},
        {"day": "20260329"},  # dates in this form would not compare correctly
        {"key": "abc"},
    ],
    ids=str,
)
def test_impossible_facts_are_corrupt(facts, state, tmp_path):
    path = tmp_path / "state.safetensors"
    state.save(path)
    rewritten(path, facts=facts)
    with pytest.raises(CorruptState):
        DeviceState.load(path)


def test_a_vector_that_diverged_is_not_corrupt(state, tmp_path):
    path = tmp_path / "state.safetensors"
    diverged = replace(state, vectors=torch.tensor([[math.nan, math.inf], [0.0, 0.0]]))
    diverged.save(path)
    assert same_state(DeviceState.load(path), diverged)


# The lock
