"""SASRec: a transformer over a shopper's purchases in turn, by RecTools, with no privacy at all.

Kang & McAuley 2018, "Self-attentive sequential recommendation", with a softmax over the whole catalogue, as
Klenitskiy & Vasilev 2023, "Turning dross into gold loss: is BERT4Rec really better than SASRec?", train it.
RecTools asks for a numpy below 2 and this project for 2, so it lives in an environment of its own
(`make install-sequence`) and runs as a process (sequence_worker.py). Items of one visit come to it by their
number, for it needs an order and a visit has none.
"""

import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.experiments.baselines.row import Context, Serve, Settings
from terrycloth.experiments.evaluation.evaluate import Scorer

PYTHON = "TERRYCLOTH_SEQUENCE_PYTHON"  # names another interpreter than that of `make install-sequence`
INSTALLED = Path(".venv-sequence/bin/python")
WORKER = Path(__file__).with_name("sequence_worker.py")

FACTORS, DROPOUT, LENGTH, EPOCHS = "factors", "dropout", "length", "epochs"

FITS: tuple[Settings, ...] = tuple(
    {FACTORS: factors, DROPOUT: dropout, LENGTH: 100.0} for factors in (64.0, 128.0) for dropout in (0.2, 0.5)
)
SERVES = tuple({EPOCHS: float(epochs)} for epochs in (5, 10, 20, 30, 45, 60))


def interpreter() -> Path:
    """Of the environment that has RecTools, whether it is there or not."""
    return Path(os.environ.get(PYTHON, INSTALLED))


def absent() -> str | None:
    """Why it cannot be fitted on this machine, or None."""
    if interpreter().exists():
        return None
    return f"SASRec needs an environment of its own, and {interpreter()} is not there: make install-sequence"


def fit_sequence(context: Context, settings: Settings) -> Serve:
    """Trained once to the greatest number of epochs asked for, and served after any of them."""
    kept = TemporaryDirectory(prefix="terrycloth-sequence-")
    folder = Path(kept.name)
    most = settings.get(EPOCHS, np.inf)
    epochs = [
        served[EPOCHS] for served in SERVES if served[EPOCHS] <= most
    ]  # by the same steps as when tuned
    asked: dict[str, Any] = {
        FACTORS: int(settings[FACTORS]),
        DROPOUT: settings[DROPOUT],
        LENGTH: int(settings[LENGTH]),
        EPOCHS: sorted(int(number) for number in epochs),
    }
    work("fit", folder, context.train, asked)

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            assert kept  # the folder goes with the last scorer
            sizes = {"devices": events.num_devices, "items": context.num_items}
            work("score", folder, events, sizes | {EPOCHS: int(served[EPOCHS])})
            return torch.from_numpy(np.load(folder / "scores.npy"))

        return scorer

    return serve


def work(what: str, folder: Path, events: Events, asked: dict[str, Any]) -> None:
    """Run the worker in a folder. Raises RuntimeError where it fails."""
    items = events.items.astype(np.int64)
    np.savez(folder / "events.npz", devices=events.devices, items=items, times=events.times)
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    command = [str(interpreter().absolute()), str(WORKER), what, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        # What it printed may hold events: it is not repeated.
        raise RuntimeError(f"SASRec's process failed to {what}, with exit code {done.returncode}")
