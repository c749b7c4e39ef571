"""Fixtures that all tests share: a towel shop small enough to check by hand, and the folder of real data
sets.
"""

import os

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ.pop("COLUMNS", None)  # tables are as wide as in a pipe, so that no word is wrapped

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
def _shortened_runs() -> Iterator[None]:
    """Switch off or shorten the slow parts of a run that most tests do not look at.

    A run draws no figures, trains the central model for a few steps only, and estimates the shop's ceiling
    roughly. Every part stays repeatable. A test of these parts asks for the fixture `drawn_runs` or
    `whole_runs`.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(terrycloth.experiments.reports.figures, "draw_run", lambda *arguments: None)
        patched.setattr(terrycloth.experiments.baselines.central, "CENTRAL_STEPS", 5)
        patched.setattr(ceilings, "__defaults__", (8,))
        yield


@pytest.fixture
def drawn_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs draw their figures."""
    monkeypatch.setattr(terrycloth.experiments.reports.figures, "draw_run", DRAW_RUN)


@pytest.fixture
def whole_runs(drawn_runs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs draw their figures, train their central model in full and estimate their ceiling in full."""
    monkeypatch.setattr(terrycloth.experiments.baselines.central, "CENTRAL_STEPS", CENTRAL_STEPS)
    monkeypatch.setattr(ceilings, "__defaults__", CEILING_DEFAULTS)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets beside the project.

    A test that uses it is skipped where it is absent.
    """
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture
def catalogue() -> Catalogue:
    """A catalogue of six towels, with cells of one value, of two and of none; t5 has no attribute at all."""
    return Catalogue(pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in TOWELS.items()}))


@pytest.fixture
def events() -> Events:
    """Four devices over the six towels.

    Device 0 bought t0 twice, device 1 bought three of t2 at once, and device 2 bought nothing.
    """
    return Events.from_columns(
        devices=np.array([0, 0, 0, 1, 1, 3]),
        items=np.array([0, 1, 0, 2, 3, 4]),
        times=np.array([10, 20, 30, 10, 20, 10]),
        weights=np.array([1.0, 1.0, 1.0, 3.0, 1.0, 1.0]),
        num_devices=4,
    )
