"""The folder of a frontier, which holds its results and all that is needed to continue it.

grid.toml            the grid and the version that began it; `terry frontier FOLDER/grid.toml` runs it again
runs/<cell>/         one run folder per cell, as `terry simulate` writes it
references/          what cells are compared with, computed once: floors, ceiling, central model, baselines
frontier.csv         one row per cell; `table.COLUMNS` describes the columns  ┐
frontier.parquet     the same table                                          │ written when all
figures/             PNG and SVG                                             │ cells are done
index.html           the page                                                ┘
"""

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
from terrycloth.models.file_lock import lock_byte

LEFT_BY_A_KILL = {".lock", "grid.toml.partial"}
RESULTS = 2**32  # the byte after that of the last digest


class FrontierFolder:
    """The paths and files of one frontier."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grid = path / "grid.toml"
        self.csv = path / "frontier.csv"
        self.parquet = path / "frontier.parquet"
        self.runs = path / "runs"
        self.figures = path / "figures"
        self.page = path / "index.html"

    def open(self, tables: list[Table]) -> None:
        """Make the folder, or continue it if it holds this grid or a part of it.

        Raises UserError if the folder holds something else, another version's results or cells that the grid
        lacks, or if it cannot be written.
        """
        using = in_use()
        if self.grid.exists():
            try:
                kept = {cell.name for cell in expand(read_grid(self.grid))}
            except UserError as error:
                raise UserError(
                    f"{self.path} is from another version, or damaged ({error}): choose another --out"
                ) from None
            if (begun := tomllib.loads(self.grid.read_text(encoding="utf-8")).get("begun_with")) != using:
                raise UserError(
                    f"{self.path} was begun with {begun}, but this is {using}: choose another --out, "
                    "because one table must not hold both"
                )
            if not kept <= {cell.name for cell in expand(tables)}:
                raise UserError(f"{self.path} holds cells that this grid lacks: choose another --out")
        elif self.path.exists() and not self.is_empty:
            raise UserError(f"{self.path} holds something other than a frontier: choose another --out")
        plain = [
            {name: str(value) if isinstance(value, Path) else value for name, value in table.items()}
            for table in tables
        ]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.locked():
                grid = {"schema": SCHEMA, "begun_with": using, "grid": plain}
                write_whole(self.grid, tomli_w.dumps(grid), RUN_AGAIN)
            for folder in ("runs", "references"):
                (self.path / folder).mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be made ({error.strerror}): choose another --out") from None

    @property
    def is_empty(self) -> bool:
        """Whether the folder is empty, apart from files that a kill may leave before the grid is written."""
        return self.path.is_dir() and {path.name for path in self.path.iterdir()} <= LEFT_BY_A_KILL

    def run(self, job: Job) -> RunFolder:
        """Return the run folder of a cell."""
        return RunFolder(self.runs / job.name)

    def reference(self, job: Job) -> Path:
        """Return the path of a reference."""
        return self.path / "references" / f"{job.name}.json"

    def read_reference(self, job: Job) -> Baselines | None:
        """Read what cells are compared with; None if the file is missing or cannot be read."""
        try:
            return Baselines.model_validate_json(self.reference(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def finished(self, job: Job) -> bool:
        """Whether the result of a job is on disk."""
        path = self.reference(job) if isinstance(job, Reference) else self.run(job).result
        return path.exists()

    @contextmanager
    def locked(self, job: Job | None = None) -> Iterator[None]:
        """Keep every other process away from a job or, without one, from the table and the page.

        Each has one byte of a file to lock. The operating system unlocks it however the process ends.
        """
        with (self.path / ".lock").open("ab") as file:
            lock_byte(file, RESULTS if job is None else int(job.digest, 16))
            yield
