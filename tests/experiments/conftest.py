"""A finished run that tests may read, or copy before they change anything."""

import shutil
from pathlib import Path

import pytest

import terrycloth.experiments.reports.figures
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig

draw_run = terrycloth.experiments.reports.figures.draw_run  # tests/conftest.py replaces it in most runs

TINY = RunConfig(devices=30, rounds=2, unit="interaction", noise_multiplier=1.0, seed=7, evaluate_every=1)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a seeded run of 30 towel devices over two rounds at interaction level; do not change it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(terrycloth.experiments.reports.figures, "draw_run", draw_run)
        return simulate(TINY, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """Return a copy of the finished run, in a folder named `copied`."""
    shutil.copytree(finished.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")
