"""What tests share: a towel shop small enough to check by hand, and where real data lie."""

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

import terrycloth.experiments.baselines.central
import terrycloth.experiments.reports.figures
from terrycloth.client.events import Events
from terrycloth.experiments.datasets.towel_ceiling import ceilings
from terrycloth.models.catalogue import Catalogue

torch.set_num_threads(1)
settings.register_profile("terrycloth", deadline=None)
settings.load_profile("terrycloth")

DRAW_RUN = terrycloth.experiments.reports.figures.draw_run
CENTRAL_STEPS = terrycloth.experiments.baselines.central.CENTRAL_STEPS
CEILING_DEFAULTS = ceilings.__defaults__

TOWELS = {
    "item": ["t0", "t1", "t2", "t3", "t4", "t5"],
    "title": [
        "sand hand towel",
        "sand bath towel",
        "moss hand towel",
        "moss bath towel",
        "striped towel",
        "a gift",
    ],
    "colour": [("sand",), ("sand",), ("moss",), ("moss",), ("moss", "sand"), ()],
    "composition": [("cotton",), ("cotton", "linen"), ("linen",), ("cotton",), ("cotton",), ()],
    "size": [("hand",), ("bath",), ("hand",), ("bath",), (), ()],
}


@pytest.fixture(scope="session", autouse=True)
def _light_runs() -> Iterator[None]:
    """Leave out of every run what takes longest and most tests do not look at.

    A run draws no pictures, trains the central model for a few steps, and estimates the shop's ceiling
    roughly. All of it stays repeatable. A test of these parts asks for `drawn_runs` or `whole_runs`.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(terrycloth.experiments.reports.figures, "draw_run", lambda *arguments: None)
        patched.setattr(terrycloth.experiments.baselines.central, "CENTRAL_STEPS", 5)
        patched.setattr(ceilings, "__defaults__", (8,))
        yield


@pytest.fixture
def drawn_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with their pictures."""
    monkeypatch.setattr(terrycloth.experiments.reports.figures, "draw_run", DRAW_RUN)


@pytest.fixture
def whole_runs(drawn_runs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with their pictures, their central model and their ceiling."""
    monkeypatch.setattr(terrycloth.experiments.baselines.central, "CENTRAL_STEPS", CENTRAL_STEPS)
    monkeypatch.setattr(ceilings, "__defaults__", CEILING_DEFAULTS)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets, beside the project; a test that asks for them is skipped where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture
def catalogue() -> Catalogue:
    """Six towels: cells with one value, with two, and empty; t5 has no attribute at all."""
    return Catalogue(pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in TOWELS.items()}))


@pytest.fixture
def events() -> Events:
    """Four devices over the six towels: one bought t0 twice, one bought three of t2 at once, one nothing."""
    return Events.from_columns(
        devices=np.array([0, 0, 0, 1, 1, 3]),
        items=np.array([0, 1, 0, 2, 3, 4]),
        times=np.array([10, 20, 30, 10, 20, 10]),
        weights=np.array([1.0, 1.0, 1.0, 3.0, 1.0, 1.0]),
        num_devices=4,
    )
