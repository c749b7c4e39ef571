"""What a device keeps is written whole or not at all, and its key is its own."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

import client.state
from client.ledger import Ledger
from client.state import DeviceState, device_key, write_key
from models.randomness import KEY_BYTES


@pytest.fixture
def state() -> DeviceState:
    """Two devices after three questions."""
    took_part = np.array([True, False])
    return DeviceState(
        vectors=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        before=torch.tensor([[0.5, 0.0], [3.0, 4.0]]),
        took_part=took_part,
        ledger=Ledger.empty(2).after(took_part, 1.3, 0.25, 4),
        answered=3,
        question="ab" * 32,
        refused=1,
    )


def same(one: DeviceState, other: DeviceState) -> bool:
    return (
        torch.equal(one.vectors, other.vectors)
        and torch.equal(one.before, other.before)
        and np.array_equal(one.took_part, other.took_part)
        and np.array_equal(one.ledger.mechanisms, other.ledger.mechanisms)
        and np.array_equal(one.ledger.steps, other.ledger.steps)
        and (one.answered, one.question, one.refused) == (other.answered, other.question, other.refused)
    )


def test_save_and_load(state, tmp_path):
    state.save(tmp_path / "state.safetensors")
    loaded = DeviceState.load(tmp_path / "state.safetensors")
    assert same(loaded, state)
    assert loaded.took_part.dtype == np.bool_
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_new_state_round_trips_though_its_ledger_is_empty(tmp_path):
    new = DeviceState.new(3, 2)
    new.save(tmp_path / "state.safetensors")
    assert same(DeviceState.load(tmp_path / "state.safetensors"), new)


def test_a_state_whose_vectors_are_those_before_can_be_saved(state, tmp_path):
    """A booked question starts from the vectors it has: one tensor under two names."""
    state.before = state.vectors
    state.save(tmp_path / "state.safetensors")
    assert same(DeviceState.load(tmp_path / "state.safetensors"), state)


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
    later = DeviceState(**{**vars(state), "answered": 4, "question": "cd" * 32})
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crash)
        with pytest.raises(KeyboardInterrupt):
            later.save(path)
    assert path.read_bytes() == old
    later.save(path)  # and what the crash left behind is in nobody's way
    assert same(DeviceState.load(path), later)


def test_a_state_is_on_disk_before_it_gets_its_name(state, tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (done.append("replace"), replace(self, target))[1]
    )
    state.save(tmp_path / "state.safetensors")
    assert done[:2] == ["fsync", "replace"]


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the folder is not synced, so a power cut can undo the rename"
)
def test_the_new_name_is_on_disk_too(state, tmp_path, monkeypatch):
    synced: list[str] = []
    fsync = os.fsync

    def note(file: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    monkeypatch.setattr(os, "fsync", note)
    state.save(tmp_path / "state.safetensors")
    assert synced == ["file", "folder"]


def test_vectors_are_for_their_owner_alone(state, tmp_path):
    umask = os.umask(0)
    try:
        state.save(tmp_path / "state.safetensors")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "state.safetensors").stat().st_mode) == 0o600


# The key


def test_a_key_is_made_once_from_the_system_for_its_owner_alone(tmp_path, monkeypatch):
    drawn: list[int] = []
    monkeypatch.setattr(
        "models.randomness.secrets.token_bytes", lambda n: (drawn.append(n), os.urandom(n))[1]
    )
    umask = os.umask(0)
    try:
        key = device_key(tmp_path / "key")
    finally:
        os.umask(umask)
    assert drawn == [KEY_BYTES]
    assert len(key) == KEY_BYTES
    assert device_key(tmp_path / "key") == key
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_two_keys_differ(tmp_path):
    assert device_key(tmp_path / "one") != device_key(tmp_path / "other")


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * (KEY_BYTES - 1), b"x" * (KEY_BYTES + 1)])
def test_a_damaged_key_is_refused_and_not_shown(damage, tmp_path):
    (tmp_path / "key").write_bytes(damage)
    with pytest.raises(ValueError, match="damaged") as refused:
        device_key(tmp_path / "key")
    assert not damage or damage.decode() not in str(refused.value)
    assert (tmp_path / "key").read_bytes() == damage


def test_a_key_is_never_written_over(tmp_path):
    key = device_key(tmp_path / "key")
    with pytest.raises(FileExistsError):
        write_key(tmp_path / "key", bytes(KEY_BYTES))
    assert device_key(tmp_path / "key") == key
