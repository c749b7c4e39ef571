"""SASRec: a transformer over the sequence of a shopper's purchases, by RecTools and without privacy.

The model is that of Kang & McAuley 2018, "Self-attentive sequential recommendation". It is trained with a
softmax over the whole catalogue, as in Klenitskiy & Vasilev 2023, "Turning dross into gold loss: is BERT4Rec
really better than SASRec?". RecTools needs numpy below 2 and this project needs numpy 2, so RecTools is
installed in a separate environment (`make install-sequence`) and runs in a separate process
(sequence_worker.py). Items of one visit are passed in the order of their item numbers, because the model
needs an order and a visit has none.
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

PYTHON = "TERRYCLOTH_SEQUENCE_PYTHON"  # an interpreter to use instead of that of `make install-sequence`
INSTALLED = Path(".venv-sequence/bin/python")
WORKER = Path(__file__).with_name("sequence_worker.py")

FACTORS, DROPOUT, LENGTH, EPOCHS = "factors", "dropout", "length", "epochs"

FITS: tuple[Settings, ...] = tuple(
    {FACTORS: factors, DROPOUT: dropout, LENGTH: 100.0} for factors in (64.0, 128.0) for dropout in (0.2, 0.5)
)
SERVES = tuple({EPOCHS: float(epochs)} for epochs in (5, 10, 20, 30, 45, 60))


def interpreter() -> Path:
    """Return the path of the interpreter of RecTools' environment, whether or not it exists."""
    return Path(os.environ.get(PYTHON, INSTALLED))


def absent() -> str | None:
    """Return why SASRec cannot be fitted on this machine, or None."""
    if interpreter().exists():
        return None
    return f"SASRec needs its own environment, but {interpreter()} does not exist: run make install-sequence"


def fit_sequence(context: Context, settings: Settings) -> Serve:
    """Train once up to the largest number of epochs, and serve the model after any number in SERVES.

    A number of epochs in the settings limits the training.
    """
    kept = TemporaryDirectory(prefix="terrycloth-sequence-")
    folder = Path(kept.name)
    most = settings.get(EPOCHS, np.inf)
    # The training stops at the same numbers of epochs as during tuning, so that the model is the same.
    epochs = [served[EPOCHS] for served in SERVES if served[EPOCHS] <= most]
    request: dict[str, Any] = {
        FACTORS: int(settings[FACTORS]),
        DROPOUT: settings[DROPOUT],
        LENGTH: int(settings[LENGTH]),
        EPOCHS: sorted(int(number) for number in epochs),
    }
    run_worker("fit", folder, context.train, request)

    def serve(served: Settings) -> Scorer:
        def scorer(events: Events) -> Tensor:
            assert kept  # the reference keeps the folder until the last scorer is gone
            sizes = {"devices": events.num_devices, "items": context.num_items}
            run_worker("score", folder, events, sizes | {EPOCHS: int(served[EPOCHS])})
            return torch.from_numpy(np.load(folder / "scores.npy"))

        return scorer

    return serve


def run_worker(verb: str, folder: Path, events: Events, request: dict[str, Any]) -> None:
    """Write the events and the request into a folder, and run the worker there. verb: "fit" or "score".

    Raises RuntimeError if the worker fails.
    """
    items = events.items.astype(np.int64)
    np.savez(folder / "events.npz", devices=events.devices, items=items, times=events.times)
    (folder / "asked.json").write_text(json.dumps(request), encoding="utf-8")
    command = [str(interpreter().absolute()), str(WORKER), verb, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        # The worker's output may contain events, so the message does not repeat it.
        raise RuntimeError(f"SASRec's process failed to {verb}, with exit code {done.returncode}")
