"""Seeded runs of every unit, trust model and model give the results that they gave before.

seeded_results.json beside this file holds these results. After a change that is meant to change results,

python -m tests.end_to_end.test_seeded_results

writes it again. On another machine the last digits of arithmetic may differ, and so a shopper's list.
Accuracy is therefore compared to 0.02, and the sums of parameters to 1e-3.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig

KEPT = Path(__file__).with_name("seeded_results.json")

PROMISES: dict[str, dict[str, Any]] = {
    "none": {},
    "interaction": {"unit": "interaction", "epsilon": 8.0},
    "local": {"unit": "shopper", "trust": "local", "epsilon": 8.0},
    "distributed": {"unit": "shopper", "trust": "distributed", "epsilon": 8.0, "nodes": 4},
    "central": {"unit": "shopper", "trust": "central", "epsilon": 8.0, "participation": 0.5},
}
MODELS = ("attributes", "mf", "neural-cf", "linear")
OTHERS: dict[str, dict[str, Any]] = {
    "pfedrec": {"model": "pfedrec"},
    "auto": {"model": "auto", "unit": "shopper", "trust": "central", "epsilon": 2.0},
    "next-visit": {"split": "next-visit"},
    "last-item": {"split": "last-item"},
    "repeats": {"repeats": "include", "split": "next-visit"},
    "released": {"unit": "shopper", "trust": "local", "epsilon": 8.0, "evaluate": "released"},
    "adapted-clip": {"unit": "shopper", "trust": "central", "epsilon": 8.0, "clip_quantile": 0.5},
    "opacus": {"unit": "interaction", "epsilon": 8.0, "trainer": "reference", "devices": 40},
}
RUNS: dict[str, dict[str, Any]] = {
    f"{model}-{promise}": {"model": model, **changes}
    for model in MODELS
    for promise, changes in PROMISES.items()
    if (model, promise) != ("linear", "interaction")
} | OTHERS
RUNS["linear-central"]["participation"] = 1.0


def result_of(changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a run's result without times, sizes, versions and machine, and the sums of its parameters."""
    usual: dict[str, Any] = {"devices": 150, "seed": 1, "central": False, "evaluate_every": 0}
    if changes.get("model") != "linear":
        usual["rounds"] = 3
    run = simulate(RunConfig.model_validate(usual | changes), folder)
    result = json.loads(run.result.read_text(encoding="utf-8"))
    for name in ("cost", "versions", "date", "commit", "machine"):
        del result[name]
    parameters = load_file(run.model) if run.model.exists() else {}
    sums = {name: [float(part.sum()), float(part.abs().sum())] for name, part in parameters.items()}
    return {"result": result, "parameters": sums}


def assert_alike(found: Any, kept: Any, place: str) -> None:
    """Check that shapes, texts and whole numbers are equal, and that floats are close."""
    if isinstance(kept, dict):
        assert list(found) == list(kept), place
        for name, value in kept.items():
            assert_alike(found[name], value, f"{place}/{name}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), place
        for number, value in enumerate(kept):
            assert_alike(found[number], value, f"{place}/{number}")
    elif isinstance(kept, float):
        rounding = 1e-3 if "/promise" in place or "/parameters" in place else 0.0
        assert found == pytest.approx(kept, rel=rounding, abs=0.02 if rounding == 0 else 1e-3), place
    else:
        assert found == kept, place


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_seeded_run_gives_the_recorded_result(whole_runs: None, name: str, tmp_path: Path) -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))[name]
    found = result_of(RUNS[name], tmp_path / "run")
    assert_alike(json.loads(json.dumps(found)), kept, name)


def write(path: Path) -> None:
    """Write the results of all runs to a file."""
    results = {}
    for name, changes in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            results[name] = result_of(changes, Path(folder) / "run")
        print(name, flush=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT)
