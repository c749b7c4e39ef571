"""`flwr run` over a small device group gives the in-process engine's model and leaves no process behind."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from terrycloth.client.app import make_app
from terrycloth.client.device_group import DeviceGroup
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.engines import engine
from terrycloth.experiments.evaluation.split import make_split, rule_for
from terrycloth.experiments.runs.flower_run import APP, descendants
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import owner_policy
from terrycloth.models.settings import RoundSettings
from terrycloth.server.app import MODEL_FILE
from terrycloth.server.settings import ServerSettings, from_run_config
from tests.policies import ANYTHING

DEVICES, NODES, ROUNDS = 40, 2, 2


def app_config() -> dict[str, Any]:
    """Return the defaults that pyproject.toml gives the Flower app."""
    project = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))
    config: dict[str, Any] = project["tool"]["flwr"]["app"]["config"]
    return config


def lay_out(folder: Path) -> Path:
    """Lay out forty devices with a seed, so that two device groups draw the same."""
    dataset = load("towels", DataOptions(devices=DEVICES))
    train = make_split(dataset, rule_for(dataset, "date")).train
    DeviceGroup.create(folder, dataset.catalogue, train, ANYTHING, seed=7)
    return folder


def test_the_app_config_names_every_setting() -> None:
    names = {name.replace("-", "_") for name in app_config()}
    assert names == {*ServerSettings.model_fields, *RoundSettings.model_fields} - {"protocol", "round", "run"}


def test_the_app_config_is_valid_with_a_catalogue() -> None:
    server, settings = from_run_config({**app_config(), "catalogue": "/public/catalogue.parquet"})
    assert (settings.devices, server.folder) == (300, None)
    assert (settings.unit, settings.trust, settings.rounds) == ("interaction", "local", 5)


def test_devices_laid_out_by_default_allow_the_default_query_of_the_app() -> None:
    _, settings = from_run_config({**app_config(), "catalogue": "/public/catalogue.parquet"})
    allowed = owner_policy(RunConfig(unit="interaction"), settings.devices)
    assert allowed.objection(settings) is None
    assert settings.epsilon <= allowed.most_epsilon


@pytest.mark.slow
@pytest.mark.federation
def test_flwr_run_gives_the_in_process_model_and_leaves_no_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "flower-run"
    group = lay_out(tmp_path / "device-group")

    command = [sys.executable, "-m", "terrycloth.experiments.runs.flower_run", str(group), str(out)]
    command += ["--nodes", str(NODES), "--set", f"rounds={ROUNDS}"]
    done = subprocess.run(command, cwd=APP, capture_output=True, text=True, timeout=900, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"round {ROUNDS}: {DEVICES} of {DEVICES} devices" in done.stdout
    assert descendants(out / "flower") == []
    assert "device-group" not in tomllib.loads((out / "flower" / "run.toml").read_text(encoding="utf-8"))

    there.mkdir()
    settings = {name.replace("-", "_"): value for name, value in app_config().items() if value != ""}
    settings |= {"devices": DEVICES, "nodes": NODES, "rounds": ROUNDS, "folder": str(there)}
    settings |= {"catalogue": str(group / "catalogue.parquet")}
    engine("in-process")(make_app(lay_out(here).resolve()), settings, NODES, lambda record, parameters: None)
    expected, got = load_file(there / MODEL_FILE), load_file(out / MODEL_FILE)
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-6)
    assert any(tensor.abs().max() > 0.01 for tensor in expected.values())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_descendants_are_found_by_their_flwr_home(tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    env = {**os.environ, "FLWR_HOME": str(tmp_path)}
    with subprocess.Popen(sleeping, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert descendants(tmp_path) == [process.pid]
        process.kill()
    assert descendants(tmp_path) == []
