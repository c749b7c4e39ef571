"""The folder of a frontier: enough to go on with it, and to read it.

grid.toml            the grid, and what it was begun with; `terry frontier FOLDER/grid.toml` runs it again
runs/<cell>/         a run folder a cell, as `terry simulate` writes it
references/          what cells are compared with, found once: floors, ceiling, central model, baselines
frontier.csv         a row a cell, columns as `table.COLUMNS` says     ┐
frontier.parquet     the same                                         │ written when all cells are done
figures/             PNG and SVG                                      │
index.html           the page                                         ┘
"""

import fcntl
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from terrycloth.experiments.frontier.cell import Job, Reference
from terrycloth.experiments.frontier.grid import SCHEMA, Table, expand, read_grid
from terrycloth.experiments.runs.files import RUN_AGAIN, write_whole
from terrycloth.experiments.runs.result import Baselines
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.settings.planning import in_use
from terrycloth.models.errors import UserError

BEGUN = {".lock", "grid.toml.partial"}
RESULTS = 2**32  # after the last digest


class FrontierFolder:
    """Paths and files of one frontier."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grid = path / "grid.toml"
        self.csv = path / "frontier.csv"
        self.parquet = path / "frontier.parquet"
        self.runs = path / "runs"
        self.figures = path / "figures"
        self.page = path / "index.html"

    def open(self, tables: list[Table]) -> None:
        """Make the folder, or go on with it where it holds this grid or a part of it. Raises UserError."""
        using = in_use()
        if self.grid.exists():
            try:
                kept = {cell.name for cell in expand(read_grid(self.grid))}
            except UserError as error:
                raise UserError(
                    f"{self.path} is of another version, or damaged ({error}): choose another --out"
                ) from None
            if (begun := tomllib.loads(self.grid.read_text(encoding="utf-8")).get("begun_with")) != using:
                raise UserError(
                    f"{self.path} was begun with {begun}, and this is {using}: choose another --out, "
                    "for one table must not hold both"
                )
            if not kept <= {cell.name for cell in expand(tables)}:
                raise UserError(f"{self.path} holds cells that this grid has not: choose another --out")
        elif self.path.exists() and not self.begun:
            raise UserError(f"{self.path} holds something else than a frontier: choose another --out")
        plain = [
            {name: str(value) if isinstance(value, Path) else value for name, value in table.items()}
            for table in tables
        ]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.held():
                grid = {"schema": SCHEMA, "begun_with": using, "grid": plain}
                write_whole(self.grid, tomli_w.dumps(grid), RUN_AGAIN)
            for folder in ("runs", "references"):
                (self.path / folder).mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be made ({error.strerror}): choose another --out") from None

    @property
    def begun(self) -> bool:
        """Whether the folder is empty, but for what a kill may leave before the grid is written."""
        return self.path.is_dir() and {path.name for path in self.path.iterdir()} <= BEGUN

    def run(self, job: Job) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.runs / job.name)

    def reference(self, job: Job) -> Path:
        """Where a reference is kept."""
        return self.path / "references" / f"{job.name}.json"

    def read_reference(self, job: Job) -> Baselines | None:
        """What cells are compared with; None where it could not be found."""
        try:
            return Baselines.model_validate_json(self.reference(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def finished(self, job: Job) -> bool:
        """Whether nothing is left to do."""
        path = self.reference(job) if isinstance(job, Reference) else self.run(job).result
        return path.exists()

    @contextmanager
    def held(self, job: Job | None = None) -> Iterator[None]:
        """Keep every other process from this job, or from the table and the page, for as long as we live.

        Each has a byte of one file to lock; the system unlocks it however a process ends.
        """
        with (self.path / ".lock").open("ab") as file:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, RESULTS if job is None else int(job.digest, 16))
            yield
