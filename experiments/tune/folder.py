"""The folder of a search: enough to go on with it, and to read it.

search.toml   what is searched, by which metric, over which seeds; another search is refused
trials.csv    a line a run: trial, seed, accuracy on the validation split, seconds, settings
best.toml     the best settings, for `terry simulate --config`
running/      run folders under way, each gone when it is measured
"""

import csv
import fcntl
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

SCHEMA = 1
FIRST_COLUMNS = ("trial", "seed", *METRICS, "seconds", "reason")
BEGUN = {".lock", "search.toml.partial"}  # what a kill may leave before there is a search


class SearchFolder:
    """Paths and files of one search; `outcomes` is what trials.csv holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.search = path / "search.toml"
        self.trials = path / "trials.csv"
        self.best = path / "best.toml"
        self.names: list[str] = []  # of the settings that are searched
        self.settings: dict[int, dict[str, Any]] = {}  # by trial
        self.outcomes: dict[tuple[int, int], Outcome] = {}  # by trial and seed

    @contextmanager
    def open(self, search: dict[str, Any]) -> Iterator[None]:
        """Make the folder, or go on with it where it holds this search, as the only process. UserError."""
        self.names = list(search["space"])
        search = {"schema": SCHEMA, **search}
        if self.search.exists():
            if (differs := difference(read_toml(self.search), search)) is not None:
                raise UserError(f"{self.path} holds another search ({differs} differs): choose another --out")
        elif self.path.exists() and not self.begun:
            raise UserError(f"{self.path} holds something else than a search: choose another --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("ab")
        except OSError as error:
            raise UserError(f"{self.path} cannot be made ({error.strerror}): choose another --out") from None
        with lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"another terry tune is at work in {self.path}: wait for it") from None
            if not self.search.exists():
                write_whole(self.search, tomli_w.dumps(search), RUN_AGAIN)
            self.read_trials()
            try:
                yield
            finally:
                shutil.rmtree(self.path / "running", ignore_errors=True)

    @property
    def begun(self) -> bool:
        """Whether the folder is empty, but for what a kill may leave."""
        return self.path.is_dir() and {path.name for path in self.path.iterdir()} <= BEGUN

    def scratch(self, run: Run) -> Path:
        """Where a run keeps its devices while it is under way."""
        return self.path / "running" / f"{run.trial}-{run.seed}"

    def add(self, run: Run, outcome: Outcome) -> None:
        """Record a run that is measured, or that failed."""
        self.settings[run.trial] = run.settings
        self.outcomes[run.trial, run.seed] = outcome
        text = io.StringIO()
        writer = csv.DictWriter(text, [*FIRST_COLUMNS, *self.names], lineterminator="\n")
        writer.writeheader()
        for (trial, seed), done in sorted(self.outcomes.items()):
            row = {"trial": trial, "seed": seed, **done.metrics, "seconds": round(done.seconds, 2)}
            writer.writerow({**row, "reason": done.reason, **self.settings[trial]})
        write_whole(self.trials, text.getvalue(), RUN_AGAIN)

    def read_trials(self) -> None:
        """What was recorded before. Python writes a float so that it is read back the same. UserError."""
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
            raise UserError(f"{self.trials} cannot be read: mend it, or choose another --out") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Raises UserError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read as TOML: mend it, or choose another --out") from None


def difference(kept: dict[str, Any], asked: dict[str, Any]) -> str | None:
    """The first key in which two searches differ; for a table, the key inside it."""
    for name in {**kept, **asked}:
        one, other = kept.get(name), asked.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            if (inside := difference(one, other)) is not None:
                return inside if name == "settings" else f"{name} of {inside}"
        elif one != other:
            return name
    return None
