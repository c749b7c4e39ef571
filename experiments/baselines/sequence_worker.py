"""What runs in the environment of the sequence model: RecTools' SASRec, fitted or asked for scores.

Called as `python sequence_worker.py fit|score FOLDER`, and it imports nothing of this project. FOLDER holds
events.npz (devices, items, times), asked.json, and the models that `fit` leaves there, one after each number
of epochs asked for. `score` leaves scores.npy: float32 [devices, items], a row of zeros for a device
without events.
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
    """The events, oldest first."""
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


def fit(folder: Path, asked: dict[str, Any]) -> None:
    """Train on, and keep the model after each of `epochs`, ascending."""
    import torch

    torch.manual_seed(0)
    model = SASRecModel(
        n_blocks=2,
        n_heads=1,
        n_factors=asked["factors"],
        dropout_rate=asked["dropout"],
        session_max_len=asked["length"],
        loss="softmax",
        lr=1e-3,
        batch_size=128,
        epochs=asked["epochs"][-1],  # with fewer, RecTools would refuse to load a model that trained on
        deterministic=True,
        recommend_torch_device="cpu",
    )
    dataset, done = dataset_of(folder), 0
    for epochs in asked["epochs"]:
        model.fit_partial(dataset, min_epochs=epochs - done, max_epochs=epochs - done)
        model.save(folder / f"{epochs}.model")
        done = epochs


def score(folder: Path, asked: dict[str, Any]) -> None:
    """Scores of every item by the model after so many epochs; an item that it never saw comes last."""
    scores = np.zeros((asked["devices"], asked["items"]), dtype=np.float32)
    events = np.load(folder / "events.npz")
    model = load_model(folder / f"{asked['epochs']}.model")
    known = np.intersect1d(events["items"], model.data_preparator.get_known_item_ids())
    devices = np.unique(events["devices"][np.isin(events["items"], known)])
    if len(devices):
        found = model.recommend(devices, dataset_of(folder), k=asked["items"], filter_viewed=False)
        scores[devices] = found[Columns.Score].min() - 1.0
        scores[found[Columns.User].to_numpy(), found[Columns.Item].to_numpy()] = found[Columns.Score]
    np.save(folder / "scores.npy", scores)


if __name__ == "__main__":
    place = Path(sys.argv[2])
    {"fit": fit, "score": score}[sys.argv[1]](place, json.loads((place / "asked.json").read_text()))
