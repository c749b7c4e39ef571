"""Trackers: a run's settings, promise and measurements, for MLflow or TensorBoard or as a table.

    log.csv        kind, round, name, value: one row per fact
    mlruns/        `MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri RUN/mlruns` shows it
    tensorboard/   `tensorboard --logdir RUN/tensorboard` shows it

All of it is in the run folder, and nothing is sent over the network. A tracker receives only what anybody may
see beside the promise: settings, accuracy, ε, bytes and seconds. Counts of devices are exact, and ε does not
cover them, so they stay in rounds.csv. A resumed run writes its log anew, with the rounds before the stop.
"""

import csv
import importlib
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from terrycloth.experiments.runs.files import write_whole
from terrycloth.experiments.runs.result import Result
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.promise import Promise

ACCURACY = ("hr@10", "ndcg@10", "sampled_hr@10", "sampled_ndcg@10")
COSTS = ("epsilon", "bytes_up", "bytes_down", "seconds")

# What each tracker imports, and the package that holds it.
LIBRARIES = {
    "mlflow": ("mlflow.tracking", "mlflow-skinny"),
    "tensorboard": ("torch.utils.tensorboard", "tensorboard"),
}


class Observer:
    """Receives the facts of one run, in this order. This base class ignores them."""

    def started(self, settings: Mapping[str, Any], promise: Mapping[str, Any]) -> None:
        """The run starts. promise: unit, trust, ε, δ, and the sentence that goes with every number."""

    def measured(self, round: int, values: Mapping[str, float]) -> None:
        """A round was measured. values: its accuracy and what it cost."""

    def finished(self, round: int, values: Mapping[str, float]) -> None:
        """The run is measured as a whole, after its last round."""

    def close(self, *, failed: bool) -> None:
        """The run ended, or failed."""


class CsvObserver(Observer):
    """A table in log.csv, which is complete after every fact."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.csv"
        self.rows: list[tuple[Any, ...]] = [("kind", "round", "name", "value")]

    def started(self, settings: Mapping[str, Any], promise: Mapping[str, Any]) -> None:
        """Write one row per setting and per fact of the promise."""
        self.write(("setting", "", name, value) for name, value in settings.items())
        self.write(("promise", "", name, value) for name, value in promise.items())

    def measured(self, round: int, values: Mapping[str, float]) -> None:
        """Write one row per value."""
        self.write(("round", round, name, value) for name, value in values.items())

    def finished(self, round: int, values: Mapping[str, float]) -> None:
        """Write one row per value."""
        self.write(("result", round, name, value) for name, value in values.items())

    def write(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows to the file."""
        self.rows += rows
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.rows)
        write_whole(self.path, text.getvalue())


class TensorBoardObserver(Observer):
    """An event file of TensorBoard. Each value is a curve; settings and promise are texts."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tensorboard"
        shutil.rmtree(path, ignore_errors=True)
        self.writer = load("tensorboard").SummaryWriter(str(path))

    def started(self, settings: Mapping[str, Any], promise: Mapping[str, Any]) -> None:
        """Write both as tables in Markdown."""
        for title, facts in (("settings", settings), ("promise", promise)):
            lines = ["| name | value |", "| --- | --- |", *(f"| {name} | {facts[name]} |" for name in facts)]
            self.writer.add_text(title, "\n".join(lines))

    def measured(self, round: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self.writer.add_scalar(f"round/{name}", value, round)
        self.writer.flush()

    def finished(self, round: int, values: Mapping[str, float]) -> None:
        """Write each value as a curve of one point."""
        for name, value in values.items():
            self.writer.add_scalar(f"result/{name}", value, round)

    def close(self, *, failed: bool) -> None:
        """Close the file."""
        self.writer.close()


class MlflowObserver(Observer):
    """A run of MLflow in a store of files. A name there holds no @, so hr@10 is hr_at_10."""

    def __init__(self, folder: Path) -> None:
        store = (folder / "mlruns").resolve().as_uri()
        self.client = load("mlflow").MlflowClient(tracking_uri=store)
        if (kept := self.client.get_experiment_by_name("terrycloth")) is None:
            experiment = self.client.create_experiment("terrycloth")
        else:  # the run was stopped, and is logged anew
            experiment = kept.experiment_id
            for stopped in self.client.search_runs([experiment]):
                self.client.delete_run(stopped.info.run_id)
        self.run: str = self.client.create_run(experiment, run_name=folder.resolve().name).info.run_id

    def started(self, settings: Mapping[str, Any], promise: Mapping[str, Any]) -> None:
        """Write settings as parameters, and the promise as tags and as the description of the run."""
        for name, value in settings.items():
            self.client.log_param(self.run, name, value)
        for name, value in promise.items():
            self.client.set_tag(self.run, f"promise.{name}", value)
        self.client.set_tag(self.run, "mlflow.note.content", promise["sentence"])

    def measured(self, round: int, values: Mapping[str, float]) -> None:
        """Add a point to each metric."""
        self.log("round", round, values)

    def finished(self, round: int, values: Mapping[str, float]) -> None:
        """Write each value as a metric of one point."""
        self.log("result", round, values)

    def log(self, kind: str, round: int, values: Mapping[str, float]) -> None:
        """Write metrics under `kind`."""
        now = int(1000 * time.time())
        for name, value in values.items():
            self.client.log_metric(self.run, f"{kind}/{name.replace('@', '_at_')}", value, now, round)

    def close(self, *, failed: bool) -> None:
        """Record how the run ended."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


OBSERVERS: dict[str, Any] = {"mlflow": MlflowObserver, "tensorboard": TensorBoardObserver, "csv": CsvObserver}


class Observers(Observer):
    """Several observers in one."""

    def __init__(self, observers: list[Observer]) -> None:
        self.observers = observers

    def started(self, settings: Mapping[str, Any], promise: Mapping[str, Any]) -> None:
        """Pass it on."""
        for each in self.observers:
            each.started(settings, promise)

    def measured(self, round: int, values: Mapping[str, float]) -> None:
        """Pass it on."""
        for each in self.observers:
            each.measured(round, values)

    def finished(self, round: int, values: Mapping[str, float]) -> None:
        """Pass it on."""
        for each in self.observers:
            each.finished(round, values)

    def close(self, *, failed: bool) -> None:
        """Pass it on."""
        for each in self.observers:
            each.close(failed=failed)


def names_of(log: str | None) -> list[str]:
    """Return the names in the setting `log`."""
    return [] if log is None else log.split(",")


def require_libraries(log: str | None) -> None:
    """Raise UserError if the library of a tracker is missing."""
    for name in names_of(log):
        if name in LIBRARIES:
            load(name)


def load(name: str) -> Any:
    """Import the library of a tracker. Raises UserError if that fails."""
    module, package = LIBRARIES[name]
    # Unless these are set, MLflow reports its use over the network, and keeps no files.
    if name == "mlflow":
        os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"})
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = f" ({error.name} is missing)" if error.name not in (None, name, module) else ""
        raise UserError(
            f'--log {name} needs {package}{missing}: pip install "terrycloth[track]", or remove --log'
        ) from None


@contextmanager
def observing(log: str | None, folder: Path) -> Iterator[Observer]:
    """Yield what observes one run, and close it after the block."""
    observers = Observers([OBSERVERS[name](folder) for name in names_of(log)])
    failed = True
    try:
        yield observers
        failed = False
    finally:
        observers.close(failed=failed)


def promise_facts(promise: Promise) -> dict[str, Any]:
    """Return what observers see of a promise, with the label and the sentence that go with every number."""
    names = ("unit", "trust", "epsilon", "delta", "relation", "rounds")
    facts = {name: getattr(promise, name) for name in names if getattr(promise, name) is not None}
    return {"label": promise.label, "sentence": promise.sentence(), **facts}


def result_values(result: Result) -> dict[str, float]:
    """Return what observers see of a result: its accuracy, ε, bytes and seconds."""
    accuracy = {
        f"{ranking}/{name}": value
        for ranking, figures in (("full", result.metrics.full), ("sampled99", result.metrics.sampled99))
        for name, value in figures.items()
    }
    costs = {
        "epsilon": result.promise.epsilon,
        "bytes_up_per_device": result.cost.bytes_up_per_device,
        "seconds_training": result.cost.seconds_training,
        "seconds_total": result.cost.seconds_total,
    }
    return {name: value for name, value in (accuracy | costs).items() if value is not None}


def measured_values(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what observers see of a line of rounds.csv: nothing if the round was not measured."""
    values = {name: float(row[name]) for name in (*ACCURACY, *COSTS) if row.get(name) not in (None, "")}
    known = {name: value for name, value in values.items() if value == value}
    return known if known.keys() & set(ACCURACY) else {}
