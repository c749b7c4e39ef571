"""All files that a run, a server or a device group writes are private: folders 0700 and files 0600."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrycloth.experiments import cli
from terrycloth.experiments.runs.simulation import RoundLog, resume, simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.server.checkpoint import FILE
from terrycloth.server.newest import NEWEST

SMALL = {"devices": 12, "rounds": 2, "central": False, "floors": False, "ceiling": False, "data": "towels"}
RUNS = {
    "central": {"unit": "shopper", "trust": "central", "evaluate": "released"},
    "distributed": {"unit": "shopper", "trust": "distributed", "nodes": 3},
    "interaction": {"unit": "interaction", "seed": 3},
}


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    """Set the most permissive umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Return what in a folder, itself included, users other than its owner may access."""
    paths = [folder, *folder.rglob("*")]
    wanted = {path: 0o700 if path.is_dir() else 0o600 for path in paths}
    return [str(path) for path, mode in wanted.items() if stat.S_IMODE(path.stat().st_mode) != mode]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_the_files_of_a_stopped_and_resumed_run_are_private(
    kind: str, tmp_path: Path, drawn_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "above" / "run"
    real = RoundLog.observe

    def stop(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RoundLog, "observe", stop)
        with pytest.raises(KeyboardInterrupt):
            simulate(RunConfig.model_validate(SMALL | RUNS[kind]), folder)
    assert open_to_others(folder.parent) == []
    resume(folder)
    assert open_to_others(folder.parent) == []
    written = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert written >= {
        "config.toml", "rounds.csv", "result.json", "model.safetensors", "catalogue.parquet", FILE, NEWEST,
        "figures", "devices/events/items.npy", "devices/targets/items.npy", "devices/policy.toml",
    }  # fmt: skip
    assert any(path.startswith("figures/") for path in written)


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "partition", "towels", "OUT", "--devices", "12",
         "--unit", "shopper", "--trust", "distributed",
         "--identities", "3"],
        ["privacy", "plan", "--unit", "shopper", "--trust", "central", "--devices", "100", "--rounds", "2",
         "--epsilon", "4", "--out", "OUT"],
    ],
    ids=["data split", "privacy plan"],
)  # fmt: skip
def test_the_files_of_a_command_are_private(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["terry", *(str(out) if a == "OUT" else a for a in arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert len(list(out.rglob("*"))) >= 3
    assert open_to_others(out) == []
