"""The script that fits RecTools' SASRec or scores items with it, in the sequence model's environment.

It is called as `python sequence_worker.py fit|score FOLDER` and imports nothing from this project. FOLDER
holds events.npz (devices, items, times), asked.json (the request), and the models that `fit` saves, one for
each requested number of epochs. `score` writes scores.npy: float32 [devices, items], with a row of zeros for
a device without events.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel, load_model


def dataset_of(folder: Path) -> Dataset:
    """Return the events of a folder, oldest first, as a data set of RecTools."""
    events = np.load(folder / "events.npz")
    table = pd.DataFrame(
        {
            Columns.User: events["devices"],
            Columns.Item: events["items"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(events["times"], unit="s"),
        }
    )
    return Dataset.construct(table)


def fit(folder: Path, request: dict[str, Any]) -> None:
    """Train one model and save it after each of the requested numbers of epochs, which are ascending."""
    import torch

    torch.manual_seed(0)
    model = SASRecModel(
        n_blocks=2,
        n_heads=1,
        n_factors=request["factors"],
        dropout_rate=request["dropout"],
        session_max_len=request["length"],
        loss="softmax",
        lr=1e-3,
        batch_size=128,
        epochs=request["epochs"][-1],  # RecTools refuses to load a model trained for more epochs than this
        deterministic=True,
        recommend_torch_device="cpu",
    )
    dataset, done = dataset_of(folder), 0
    for epochs in request["epochs"]:
        model.fit_partial(dataset, min_epochs=epochs - done, max_epochs=epochs - done)
        model.save(folder / f"{epochs}.model")
        done = epochs


def score(folder: Path, request: dict[str, Any]) -> None:
    """Score every item by the model after the requested number of epochs; unseen items are ranked last."""
    scores = np.zeros((request["devices"], request["items"]), dtype=np.float32)
    events = np.load(folder / "events.npz")
    model = load_model(folder / f"{request['epochs']}.model")
    known = np.intersect1d(events["items"], model.data_preparator.get_known_item_ids())
    devices = np.unique(events["devices"][np.isin(events["items"], known)])
    if len(devices):
        table = model.recommend(devices, dataset_of(folder), k=request["items"], filter_viewed=False)
        scores[devices] = table[Columns.Score].min() - 1.0
        scores[table[Columns.User].to_numpy(), table[Columns.Item].to_numpy()] = table[Columns.Score]
    np.save(folder / "scores.npy", scores)


if __name__ == "__main__":
    run_in = Path(sys.argv[2])
    {"fit": fit, "score": score}[sys.argv[1]](run_in, json.loads((run_in / "asked.json").read_text()))
