"""What a device keeps is written whole or not at all, for its owner alone."""

import fcntl
import json
import os
import stat
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import client.state
from client.ledger import Ledger
from client.state import DeviceState, locked


@pytest.fixture
def state() -> DeviceState:
    """Two devices after three questions."""
    took_part = np.array([True, False])
    return DeviceState(
        vectors=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        took_part=took_part,
        ledger=Ledger.empty(2).after(took_part, 1.3, 0.25, 4),
        asked=3,
        question="ab" * 32,
        refused=1,
        replied=True,
        update={"table.weight": torch.tensor([[0.5, -0.0]]), "bias.weight": torch.tensor([[1e-30]])},
    )


def plain(value: object) -> object:
    """Bytes where a tensor or array is, so that == compares every bit."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype, value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    if isinstance(value, Ledger):
        return plain(value.mechanisms), plain(value.steps)
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value


def same(one: DeviceState, other: DeviceState) -> bool:
    names = [field.name for field in fields(DeviceState)]
    return all(plain(getattr(one, name)) == plain(getattr(other, name)) for name in names)


def test_save_and_load(state, tmp_path):
    state.save(tmp_path / "state.safetensors")
    assert same(DeviceState.load(tmp_path / "state.safetensors"), state)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_new_state_round_trips_though_its_ledger_is_empty(tmp_path):
    new = DeviceState.new(3, 2)
    new.save(tmp_path / "state.safetensors")
    assert same(DeviceState.load(tmp_path / "state.safetensors"), new)


@pytest.mark.parametrize("place", ["half-written", "before-fsync", "before-replace"])
def test_a_crash_in_the_middle_leaves_the_old(place, state, tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    state.save(path)
    old = path.read_bytes()

    def crash(*args: object, **rest: object) -> None:
        if place == "half-written":
            Path(str(args[1])).write_bytes(b"half a fi")
        raise KeyboardInterrupt

    owner, name = {
        "half-written": (client.state, "save_file"),
        "before-fsync": (os, "fsync"),
        "before-replace": (Path, "replace"),
    }[place]
    later = replace(state, asked=4, question="cd" * 32)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crash)
        with pytest.raises(KeyboardInterrupt):
            later.save(path)
    assert path.read_bytes() == old
    later.save(path)  # and what the crash left behind is in nobody's way
    assert same(DeviceState.load(path), later)


def test_a_state_is_on_disk_before_it_gets_its_name_and_its_name_is_before_this_returns(
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


def test_a_state_is_for_its_owner_alone(state, tmp_path):
    umask = os.umask(0)
    try:
        state.save(tmp_path / "state.safetensors")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "state.safetensors").stat().st_mode) == 0o600


def test_a_file_holds_what_is_named_and_no_key(state, tmp_path):
    state.save(tmp_path / "state.safetensors")
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        names, facts = set(file.keys()), file.metadata()
    updates = {f"update/{name}" for name in state.update}
    assert names == {"vectors", "took_part", "mechanisms", "steps", *updates}
    assert set(facts) == {"facts"}
    assert json.loads(facts["facts"]) == {
        "asked": 3,
        "question": "ab" * 32,
        "refused": 1,
        "replied": True,
        "promise": "",
    }


# The lock


def free(path: Path) -> bool:
    """Whether somebody else could take the lock now."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_lock_keeps_others_out_until_its_block_is_left(tmp_path):
    with locked(tmp_path / "lock"):
        assert not free(tmp_path / "lock")
    assert free(tmp_path / "lock")


def test_a_block_that_fails_leaves_no_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    assert free(tmp_path / "lock")
