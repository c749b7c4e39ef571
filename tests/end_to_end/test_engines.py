"""Flower's simulation on Ray and the in-process grid run the same federation."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig

pytestmark = [pytest.mark.federation, pytest.mark.slow]


def run(engine: str, unit: str, out: Path) -> RunFolder:
    promise = {"noise_multiplier": 1.5} if unit == "interaction" else {}
    config = RunConfig(
        data="towels", devices=40, model="attributes", unit=unit, rounds=2, participation=0.8, nodes=2,
        engine=engine, seed=5, central=False, evaluate_every=0, **promise,
    )  # fmt: skip
    return simulate(config, out)


@pytest.mark.parametrize("unit", ["interaction", "none"])
def test_ray_and_in_process_end_with_the_same_model(unit, tmp_path):
    pytest.importorskip("ray")
    folders = [run(engine, unit, tmp_path / engine) for engine in ("in-process", "ray")]
    for name in ("asked", "answered", "refused", "invalid", "epsilon"):
        assert [row[name] for row in folders[0].read_rounds()] == [
            row[name] for row in folders[1].read_rounds()
        ]
    models = [load_file(folder.model) for folder in folders]
    assert models[0].keys() == models[1].keys()
    for name, tensor in models[0].items():
        assert torch.equal(tensor, models[1][name]), name
