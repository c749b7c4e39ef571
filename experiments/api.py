"""The Python interface: run federations and frontiers, and read their results as data frames.

Everything here is quiet and returns data; the command line draws the same runs in the terminal.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.frontier import run_frontier
from terrycloth.experiments.frontier.progress import SilentProgress, TerminalProgress
from terrycloth.experiments.model_check import check_model as model_check
from terrycloth.experiments.reports.recommendation import recommend
from terrycloth.experiments.runs import simulation
from terrycloth.experiments.runs.result import Accuracy, Result
from terrycloth.experiments.runs.run_folder import RunFolder, choose_path
from terrycloth.experiments.settings.config import RunConfig, read_config
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Recommender


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    path: Path

    @cached_property
    def result(self) -> Result:
        """What result.json holds: data, promise, accuracy, baselines, cost. Raises UserError."""
        return RunFolder(self.path).read_result()

    @property
    def promise(self) -> str:
        """The promise of privacy that the run keeps, as one sentence."""
        return self.result.promise.sentence()

    @cached_property
    def config(self) -> RunConfig:
        """Every setting of the run."""
        return RunFolder(self.path).read_config()

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Accuracy over the whole catalogue: one row per model and baseline, one column per metric."""
        rows: dict[str, Accuracy] = {self.result.model: self.result.metrics, **self.result.baselines.found}
        return pd.DataFrame({name: row.full for name, row in rows.items()}).T.rename_axis("model")

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row per round, with the columns of rounds.csv; NaN where a round was not measured."""
        return pd.read_csv(RunFolder(self.path).rounds)

    @cached_property
    def catalogue(self) -> pd.DataFrame:
        """One row per item, with its attributes."""
        return Catalogue.load(RunFolder(self.path).catalogue).table

    def recommend(self, device: int, top: int = 10) -> pd.DataFrame:
        """Return the list that a device would show its shopper: rank, item, title, score and reasons.

        device: its number, from 0. Each value in `reasons` is a dictionary from a reason's name to its exact
        part of the score. Raises UserError.
        """
        return pd.DataFrame([vars(each) for each in recommend(self.path, device, top)])


@dataclass(frozen=True)
class Frontier:
    """A finished frontier. table: one row per run. failures: why runs or comparisons are missing."""

    path: Path
    table: pd.DataFrame
    failures: Sequence[str] = ()

    @property
    def page(self) -> Path:
        """The HTML page."""
        return FrontierFolder(self.path).page


def simulate(
    orders: pd.DataFrame | None = None,
    catalogue: pd.DataFrame | None = None,
    *,
    out: Path | str | None = None,
    **settings: Any,
) -> Run:
    """Simulate a federation and return the finished run.

    orders, catalogue: your own data, one row per purchase and one row per item, with the columns that
    `--data csv` reads. Without a catalogue, the items are those of the orders. The tables are written next to
    the run folder, readable by their owner alone, so that the run can be resumed and compared; a run that is
    refused leaves none of them. Without orders, `data` names a data set (by default "towels"). out: the
    folder to create; by default runs/<time>-<data>-<model>. settings: the settings of `terry simulate`, such
    as `unit="shopper", trust="central", epsilon=8.0, model="linear", seed=1`.

    Raises UserError, whose text says in one line what is wrong and what to do.
    """
    folder = None if out is None else Path(out)
    with owner_only(), ExitStack() as stack:
        if catalogue is not None and orders is None:
            raise UserError("a catalogue alone is no data set: pass orders too")
        if orders is not None:
            folder = choose_path(folder, "csv", str(settings.get("model", "auto")))
            settings = {**settings, **stack.enter_context(written(orders, catalogue, folder))}
        config = read_config(None, settings, [])
        return Run(simulation.simulate(config, folder).path)


def check_model(model: str | type[Recommender]) -> pd.DataFrame:
    """Check a model of your own as `terry check model` does: one row per check, with passed and reason.

    model: the class, `package.module:Class`, or the name of an entry point. Raises UserError if there is no
    such class.
    """
    return pd.DataFrame(model_check.check_model(model)).set_index("check")


def load_run(path: Path | str) -> Run:
    """Return a finished run. Raises UserError if there is none in the folder."""
    run = Run(Path(path))
    _ = run.result
    return run


def frontier(
    *, out: Path | str, seeds: int = 3, jobs: int = 1, progress: bool = False, **settings: Any
) -> Frontier:
    """Run every combination of the given settings, and return their results.

    A setting may be one value or a list of values, which are crossed: `epsilon=[1, 8, math.inf],
    unit="shopper", trust="central", model=["linear", "mf"]`. seeds: runs per combination. jobs: how many runs
    at once, each in a process of its own; so a script must call this below `if __name__ == "__main__":`.
    out: the folder to create or to continue; the same call continues what was interrupted.

    Raises UserError.
    """
    folder = FrontierFolder(Path(out))
    table = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    with owner_only():
        shown = TerminalProgress() if progress else SilentProgress()
        finished = run_frontier(folder, [table | {"seeds": seeds}], jobs, shown)
    return load_frontier(folder.path, finished.reasons)


def load_frontier(path: Path | str, failures: Sequence[str] = ()) -> Frontier:
    """Return a finished frontier. Raises UserError if there is none in the folder."""
    folder = FrontierFolder(Path(path))
    if not folder.parquet.exists():
        raise UserError(f"{path} holds no finished frontier: run it again")
    return Frontier(folder.path, pd.read_parquet(folder.parquet), tuple(failures))


@contextmanager
def written(orders: pd.DataFrame, catalogue: pd.DataFrame | None, run: Path) -> Iterator[dict[str, Any]]:
    """Write the tables as Parquet files beside a run's folder, and yield the settings that name them.

    They are removed again if the block fails before the run has its folder.
    """
    folder = run.with_name(f"{run.name}-data")
    folder.mkdir(parents=True)
    tables = {"path": folder / "orders.parquet", "catalogue": folder / "catalogue.parquet"}
    try:
        orders.to_parquet(tables["path"], index=False)
        if catalogue is None:
            del tables["catalogue"]
        else:
            catalogue.to_parquet(tables["catalogue"], index=False)
        yield {"data": "csv", **tables}
    except BaseException:
        if not run.exists():
            shutil.rmtree(folder)
        raise
