"""Unusable replies, policies and ledgers are counted and named in rounds.csv, and the run continues."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from terrycloth.experiments.engines.in_process import InProcessGrid
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import Reporter, simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.update import REPLY_RECORD, UPDATE_RECORD

CLIP = 0.5
QUICK = RunConfig(
    devices=30, nodes=3, unit="shopper", trust="central", noise_multiplier=1.0, clip=CLIP, central=False,
    evaluate_every=0, seed=2,
)  # fmt: skip
SPOILED = 2  # the node whose replies are unusable


def changed(content: RecordDict, change: Callable[[dict[str, np.ndarray]], Any]) -> RecordDict:
    """Return a reply with its arrays changed."""
    arrays = {name: array.numpy().copy() for name, array in content[UPDATE_RECORD].items()}
    change(arrays)
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return RecordDict({UPDATE_RECORD: record, REPLY_RECORD: content[REPLY_RECORD]})


def not_a_number(arrays: dict[str, np.ndarray]) -> None:
    next(iter(arrays.values())).flat[-1] = np.nan


def one_row_less(arrays: dict[str, np.ndarray]) -> None:
    name = next(iter(arrays))
    arrays[name] = arrays[name][:-1]


def one_array_more(arrays: dict[str, np.ndarray]) -> None:
    arrays["shopper.weight"] = np.ones((1, 8), dtype=np.float32)


def more_than_the_clip(arrays: dict[str, np.ndarray]) -> None:
    """Set a sum whose norm is 1% above what ten clipped devices can add up to."""
    norm = sum(float(np.square(array).sum()) for array in arrays.values()) ** 0.5
    for array in arrays.values():
        array *= 1.01 * 10 * CLIP / norm


@pytest.mark.slow
def test_unusable_replies_are_named_in_rounds_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of three nodes sends another fault in each round; the last two rounds repeat earlier replies."""
    answer, kept = InProcessGrid.send_and_receive, []

    def corrupt(grid: InProcessGrid, messages: Any, **named: Any) -> list[Message]:
        replies = list(answer(grid, messages, **named))
        faults = [not_a_number, one_row_less, one_array_more, more_than_the_clip]
        for mine in (reply for reply in replies if reply.metadata.src_node_id == SPOILED):
            kept.append(mine.content)
            if len(kept) <= len(faults):
                mine.content = changed(mine.content, faults[len(kept) - 1])
            else:
                mine.content = kept[-2] if len(kept) == 5 else kept[0]
        return replies

    monkeypatch.setattr(InProcessGrid, "send_and_receive", corrupt)
    folder = simulate(QUICK.model_copy(update={"rounds": 6}), tmp_path / "run")
    rows = folder.read_rounds()
    assert [row["invalid"] for row in rows] == [
        "not-finite:1",
        "wrong-size:1",
        "unknown-array:1",
        "norm-above-the-bound:1",
        "stale-round:1",
        "stale-round:1",
    ]
    assert [row["answered"] for row in rows] == ["20"] * 6
    assert folder.read_result().promise.rounds == 6


class ChangesDevices(Reporter):
    """Change the devices' folder after some rounds."""

    def __init__(self, folder: Path, changes: dict[int, Callable[[Path], Any]]) -> None:
        self.folder = folder
        self.changes = changes

    def round_done(self, row: dict[str, Any]) -> None:
        self.changes.get(int(row["round"]), lambda _: None)(RunFolder(self.folder).devices)


def test_an_unreadable_policy_and_ledger_are_counted_and_the_run_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In round 2 the policy is no TOML, and in round 3 the ledger of ten devices is truncated."""
    ledgers: list[bytes] = []
    policies: list[bytes] = []

    def break_policy(devices: Path) -> None:
        policies.append((devices / "policy.toml").read_bytes())
        (devices / "policy.toml").write_text("most_epsilon = = 4\n")

    def break_ledger(devices: Path) -> None:
        (devices / "policy.toml").write_bytes(policies[0])
        ledger = devices / "state-1-of-3.safetensors"
        ledgers.append(ledger.read_bytes())
        ledger.write_bytes(ledgers[0][:-9])

    def restore_ledger(devices: Path) -> None:
        (devices / "state-1-of-3.safetensors").write_bytes(ledgers[0])

    meddler = ChangesDevices(tmp_path / "run", {1: break_policy, 2: break_ledger, 3: restore_ledger})
    with caplog.at_level(logging.ERROR, logger="terrycloth.client.device_group"):
        folder = simulate(QUICK.model_copy(update={"rounds": 4}), tmp_path / "run", meddler)
    rows = folder.read_rounds()
    assert [row["refused"] for row in rows] == ["", "no-usable-policy:30", "ledger-corrupt:10", ""]
    assert [row["answered"] for row in rows] == ["30", "0", "20", "30"]
    messages = [
        record.getMessage() for record in caplog.records if record.name == "terrycloth.client.device_group"
    ]
    assert [
        line for line in messages if "state-1-of-3.safetensors" in line and "restore it from a backup" in line
    ]
    assert [line for line in messages if "policy cannot be used" in line]
