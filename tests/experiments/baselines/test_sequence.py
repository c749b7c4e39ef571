"""The process that fits SASRec: its input, its output and its failures.

RecTools itself is tested only where `make install-sequence` was run.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import terrycloth.experiments.baselines.sequence as sequence
from terrycloth.experiments.baselines.sequence import (
    DROPOUT,
    EPOCHS,
    FACTORS,
    LENGTH,
    PYTHON,
    absent,
    fit_sequence,
)
from tests.experiments.baselines.shop import bought, context_of

SETTINGS = {FACTORS: 8.0, DROPOUT: 0.2, LENGTH: 10.0}

STAND_IN = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[2])
asked, events = json.loads((folder / "asked.json").read_text()), np.load(folder / "events.npz")
if sys.argv[1] == "fit":
    if asked["factors"] == 13:
        raise SystemExit("no such factors")
    (folder / "trained.json").write_text(json.dumps([asked["epochs"], events["items"].tolist()]))
else:
    epochs, trained = json.loads((folder / "trained.json").read_text())
    scores = np.zeros((asked["devices"], asked["items"]), dtype=np.float32)
    scores[events["devices"], events["items"]] = asked["epochs"]
    scores[:, -1] = epochs[-1] + len(trained) / 100
    np.save(folder / "scores.npy", scores)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setattr(sequence, "WORKER", worker)
    monkeypatch.setenv(PYTHON, sys.executable)


def test_the_model_is_fitted_to_training_events_and_scores_the_given_shoppers(stand_in: None) -> None:
    """For the last item, 3, the worker returns the most epochs trained and the number of events."""
    train = bought([(0, 0), (0, 1), (1, 2)], 2)
    serve = fit_sequence(context_of(train, 4), SETTINGS)
    scores = serve({EPOCHS: 5.0})(bought([(1, 2)], 2))
    assert torch.allclose(scores, torch.tensor([[0, 0, 0, 60.03], [0, 0, 5, 60.03]]))
    assert float(serve({EPOCHS: 10.0})(train)[0, 1]) == 10.0


def test_a_chosen_number_of_epochs_is_reached_through_the_tuned_steps(stand_in: None) -> None:
    train = bought([(0, 0)], 1)
    scores = fit_sequence(context_of(train, 2), SETTINGS | {EPOCHS: 20.0})({EPOCHS: 20.0})(train)
    assert scores.tolist() == [[20.0, pytest.approx(20.01)]]


def test_a_failure_does_not_repeat_the_output_of_the_process(stand_in: None) -> None:
    with pytest.raises(RuntimeError) as failed:
        fit_sequence(context_of(bought([(0, 0)], 1), 2), SETTINGS | {FACTORS: 13.0})
    assert str(failed.value) == "SASRec's process failed to fit, with exit code 1"


@pytest.mark.slow
@pytest.mark.skipif(absent() is not None, reason=absent() or "")
def test_rectools_learns_the_order_of_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shopper goes through six items in a circle, one a visit."""
    rows = [(device, (device + step) % 6, step) for device in range(60) for step in range(5)]
    train = bought(rows, 60)
    monkeypatch.setattr(sequence, "SERVES", ({EPOCHS: 5.0}, {EPOCHS: 400.0}))
    scores = fit_sequence(context_of(train, 7), SETTINGS | {FACTORS: 32.0})({EPOCHS: 400.0})(train.span(0, 6))
    assert scores.argmax(dim=1).tolist() == [(device + 5) % 6 for device in range(6)]
    # Nobody ever bought this item.
    assert np.all(scores[:, 6].numpy() < scores[:, :6].min(dim=1).values.numpy())
