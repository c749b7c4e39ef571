"""The folder of a search, which holds everything needed to resume the search and to read its results.

search.toml   the searched settings, the metric and the seeds; the folder refuses a different search
trials.csv    one line per run: trial, seed, accuracy on the validation split, seconds, settings
best.toml     the best settings, for `terry simulate --config`
running/      the folders of runs in progress; each is deleted once its run is measured
"""

import csv
import io
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.settings.config import literal
from terrycloth.experiments.tune.trial import METRICS, Outcome, Run
from terrycloth.models.errors import UserError
from terrycloth.models.file_lock import lock_byte

SCHEMA = 1
FIRST_COLUMNS = ("trial", "seed", *METRICS, "seconds", "reason")
BEGUN = {".lock", "search.toml.partial"}  # files that may remain if the process is killed at the start


class SearchFolder:
    """The paths and files of one search. `settings` and `outcomes` are the contents of trials.csv."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.search = path / "search.toml"
        self.trials = path / "trials.csv"
        self.best = path / "best.toml"
        self.names: list[str] = []  # the names of the searched settings
        self.settings: dict[int, dict[str, Any]] = {}  # by trial
        self.outcomes: dict[tuple[int, int], Outcome] = {}  # by trial and seed

    @contextmanager
    def open(self, search: dict[str, Any]) -> Iterator[None]:
        """Create the folder, or resume the search that it holds, and lock it against other processes.

        Raises UserError if the folder holds something else, is locked, or cannot be created or read.
        """
        self.names = list(search["space"])
        search = {"schema": SCHEMA, **search}
        if self.search.exists():
            if (differs := difference(read_toml(self.search), search)) is not None:
                raise UserError(f"{self.path} holds another search ({differs} differs): choose another --out")
        elif self.path.exists() and not self.begun:
            raise UserError(f"{self.path} holds something else, not a search: choose another --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("ab")
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be created ({error.strerror}): choose another --out"
            ) from None
        with lock:
            try:
                lock_byte(lock, 0, wait=False)
            except OSError:
                raise UserError(f"another terry tune is running in {self.path}: wait until it ends") from None
            if not self.search.exists():
                write_whole(self.search, tomli_w.dumps(search), RUN_AGAIN)
            self.read_trials()
            try:
                yield
            finally:
                shutil.rmtree(self.path / "running", ignore_errors=True)

    @property
    def begun(self) -> bool:
        """Whether the folder is empty except for files that a killed process may leave at the start."""
        return self.path.is_dir() and {path.name for path in self.path.iterdir()} <= BEGUN

    def scratch(self, run: Run) -> Path:
        """Return the folder in which a run keeps its devices while it is in progress."""
        return self.path / "running" / f"{run.trial}-{run.seed}"

    def add(self, run: Run, outcome: Outcome) -> None:
        """Record the outcome of a run that was measured or that failed."""
        self.settings[run.trial] = run.settings
        self.outcomes[run.trial, run.seed] = outcome
        text = io.StringIO()
        writer = csv.DictWriter(text, [*FIRST_COLUMNS, *self.names], lineterminator="\n")
        writer.writeheader()
        for (trial, seed), recorded in sorted(self.outcomes.items()):
            row = {"trial": trial, "seed": seed, **recorded.metrics, "seconds": round(recorded.seconds, 2)}
            writer.writerow({**row, "reason": recorded.reason, **self.settings[trial]})
        write_whole(self.trials, text.getvalue(), RUN_AGAIN)

    def read_trials(self) -> None:
        """Read trials.csv if it exists. Floats are exact, because Python writes and reads them without loss.

        Raises UserError if the file cannot be read.
        """
        if not self.trials.exists():
            return
        try:
            with self.trials.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    trial, seed = int(row["trial"]), int(row["seed"])
                    metrics = {name: float(row[name]) for name in METRICS if row[name]}
                    self.settings[trial] = {name: literal(row[name]) for name in self.names}
                    self.outcomes[trial, seed] = Outcome(metrics, float(row["seconds"]), row["reason"])
        except (KeyError, ValueError, TypeError):
            raise UserError(f"{self.trials} cannot be read: correct it or choose another --out") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises UserError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read as TOML: correct it or choose another --out") from None


def difference(recorded: dict[str, Any], requested: dict[str, Any]) -> str | None:
    """Return the first key in which two searches differ, or None. For a table it is the key inside."""
    for name in {**recorded, **requested}:
        old, new = recorded.get(name), requested.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if (inside := difference(old, new)) is not None:
                return inside if name == "settings" else f"{name} of {inside}"
        elif old != new:
            return name
    return None
