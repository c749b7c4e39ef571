"""Data sets, metrics, baselines and optimisers of other packages, by path and by entry point."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.runs.own_tables import add_own
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.tune.trial import validation_plan
from terrycloth.models.errors import UserError

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "own_data"
ENTRY_POINTS = """[terrycloth.data]
corner-shop = own_data:load
[terrycloth.metrics]
hit@1 = own_data:HIT_AT_1
[terrycloth.baselines]
cheapest = own_data:CHEAPEST
"""


def terry(folder: Path, *arguments: str, installed: bool) -> subprocess.CompletedProcess[str]:
    """Run terry in a process that can import the example; `installed`: also with its entry points."""
    path = [str(EXAMPLE)]
    if installed:
        info = folder / "site" / "own_data-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-data\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        path.append(str(folder / "site"))
    program = f"import sys; sys.path += {path!r}; from terrycloth.experiments.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_separate_package_is_used_through_its_entry_points(tmp_path):
    run = ["simulate", "--data", "corner-shop", "--unit", "none", "--rounds", "2", "--out", "run"]
    ended = terry(tmp_path, *run, "--set", "server_optimizer=own_data:Nesterov", installed=True)
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["name"] == "corner-shop"
    assert 0.0 <= result["metrics"]["full"]["hit@1"] <= result["metrics"]["full"]["hr@10"]
    assert "cheapest" in result["baselines"]
    assert "hit@1" in result["baselines"]["cheapest"]["full"]


@pytest.mark.slow
def test_a_separate_package_is_used_by_path(tmp_path):
    own = ["--set", "own_metrics=own_data:HIT_AT_1", "--set", "own_baselines=own_data:CHEAPEST"]
    run = ["simulate", "--data", "own_data:load", "--unit", "none", "--rounds", "2", "--out", "run", *own]
    ended = terry(tmp_path, *run, installed=False)
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "hit@1" in result["metrics"]["full"]
    assert "cheapest" in result["baselines"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shoes", "there is no data set 'shoes': use one of towels"),
        ("no_such_package:load", "--data no_such_package:load cannot be imported"),
        ("pathlib:Absent", "--data pathlib:Absent cannot be imported"),
        ("math:pi", "--data math:pi is not a function"),
        ("builtins:repr", "--data builtins:repr gave a str instead of a Dataset"),
        (":load", "is not of the form package.module:name"),
    ],
)
def test_a_path_to_no_data_set_is_refused_in_one_line(name, reason):
    with pytest.raises(UserError, match=reason) as refused:
        load(name, DataOptions())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "path", "reason"),
    [
        ("own_metrics", "math:pi", "own_metrics the metric math:pi is not a"),
        ("own_metrics", "math:tau_", "own_metrics math:tau_ cannot be imported"),
        ("own_baselines", "math:pi", "own_baselines the baseline math:pi is not a"),
        (
            "own_baselines",
            "terrycloth.experiments.baselines.row:BaselineRow",
            "is not a",
        ),
    ],
)
def test_a_path_to_no_metric_baseline_or_optimiser_is_refused(setting, path, reason):
    with pytest.raises(UserError, match=reason):
        add_own(RunConfig.model_validate({setting: path}))


def test_a_model_that_breaks_the_contract_cannot_make_a_promise(tmp_path):
    config = RunConfig(devices=20, model="tests.models.recommenders.own_models:Centred", rounds=1)
    with pytest.raises(UserError, match=r"breaks the contract of models \(.*terry check model") as refused:
        simulate(config, tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="breaks the contract of models"):
        validation_plan(config)  # terry tune makes its plans this way
