"""The folder of a run: enough to read it, to repeat it and to go on with it. It is its owner's alone.

config.toml          every setting, resolved, and the versions it ran on
rounds.csv           a line a round; under central trust the server's own, for who answered is told exactly
result.json          the result and its promise; result.schema.json describes it
model.safetensors    the shared parameters        ┐ what a device needs to serve
catalogue.parquet    the public catalogue         ┘
figures/             PNG and SVG
checkpoint.safetensors   the server's, to resume from; it names the run, which devices tell from any other
newest-checkpoint.json   says which checkpoint is the newest: an older one is refused
server.lock              keeps a second server away
devices/             stands for the devices' own disks: private, except in a simulation
"""

import csv
import errno
import io
import json
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from terrycloth.experiments.runs.files import write_whole
from terrycloth.experiments.runs.result import SCHEMA, Result, Versions
from terrycloth.experiments.settings.config import RunConfig, explain
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError

COLUMNS = [
    "round",
    "hr@10",
    "ndcg@10",
    "sampled_hr@10",
    "sampled_ndcg@10",
    "epsilon",
    "bytes_up",
    "bytes_down",
    "asked",
    "answered",  # exactly how many devices: outside ε, and under central trust the server's own
    "refused",  # and these, by reason
    "invalid",
    "seconds",
]


class NoSpace(UserError):
    """The disk is full, which says nothing of the settings of a run."""


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.devices = path / "devices"
        self.config = path / "config.toml"
        self.rounds = path / "rounds.csv"
        self.checkpoint = path / "checkpoint.safetensors"
        self.result = path / "result.json"
        self.model = path / "model.safetensors"
        self.catalogue = path / "catalogue.parquet"
        self.figures = path / "figures"

    def write_config(self, config: RunConfig) -> None:
        """Every setting that has a value, and the versions."""
        values = config.model_dump(mode="json", exclude_none=True)
        write_whole(self.config, tomli_w.dumps({**values, "versions": Versions.installed().model_dump()}))

    def read_config(self) -> RunConfig:
        """The settings of a run that was made before. Raises UserError where the folder holds none."""
        try:
            values = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            lacks = "is not a run folder: it has no config.toml that can be read"
            raise UserError(f"{self.path} {lacks if self.path.exists() else 'does not exist'}") from None
        values.pop("versions", None)
        try:
            return RunConfig.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{self.config}: {explain(error)}") from None

    def write_rounds(self, rows: list[dict[str, Any]]) -> None:
        """All rounds so far, replacing the file in one step."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.rounds, text.getvalue())

    def read_rounds(self) -> list[dict[str, Any]]:
        """The rounds on disk, as text; none where there is no file. Raises UserError where it is damaged."""
        if not self.rounds.exists():
            return []
        try:
            with self.rounds.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
        except (ValueError, csv.Error):
            raise self.damaged_rounds() from None
        cut = any(None in row or None in row.values() for row in rows)
        numbers = [str(1 + row) for row in range(len(rows))]
        if cut or reader.fieldnames != COLUMNS or [row["round"] for row in rows] != numbers:
            raise self.damaged_rounds()
        return rows

    def damaged_rounds(self) -> UserError:
        """What to raise where rounds.csv is not what was written."""
        return UserError(f"{self.rounds} is damaged: take {self.path} away, and run it again")

    def write_result(self, result: Result) -> None:
        """result.json and the schema it follows."""
        write_whole(self.result, result.model_dump_json(by_alias=True, indent=2) + "\n")
        schema = json.dumps(Result.model_json_schema(by_alias=True), indent=2) + "\n"
        write_whole(self.path / "result.schema.json", schema)

    def read_result(self) -> Result:
        """The result of a finished run. Raises UserError where there is none."""
        try:
            return Result.model_validate_json(self.result.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"{self.path} holds no finished run: see terry simulate --resume") from None
        except ValueError:
            raise UserError(
                f"{self.result} is damaged, or of another schema than {SCHEMA}: take {self.path} away, and "
                "run it again"
            ) from None


def choose_path(out: Path | None, data: str, model: str) -> Path:
    """--out, or runs/<time>-<data>-<model>. Raises UserError where something is there already."""
    path = out or Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{data}-{model}"
    if path.exists():
        raise UserError(f"{path} exists: choose another --out, remove it, or go on with it by --resume")
    return path


@contextmanager
def created(path: Path, needed_bytes: int) -> Iterator[RunFolder]:
    """Make the folder; if the run fails before its first round is done, take the folder away again."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise NoSpace(
            f"{parent} has {free / 2**20:.0f} MiB free, and the run folder needs some "
            f"{needed_bytes / 2**20:.0f} MiB: free some space, or choose another --out"
        )
    made = [folder for folder in [path.absolute(), *path.absolute().parents] if not folder.exists()]
    folder = RunFolder(path)
    try:
        with owner_only():
            path.mkdir(parents=True)
    except FileExistsError:  # somebody else's: never ours to take away
        raise UserError(f"{path} exists: choose another --out") from None
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error.strerror}): choose another --out") from None
    try:
        with owner_only():
            yield folder
    except BaseException as error:
        full = is_full(error, parent)
        started = folder.rounds.exists()
        if not started:
            shutil.rmtree(path, ignore_errors=True)
            for above in made[1:]:
                _remove_if_empty(above)
        if full and isinstance(error, Exception):
            raise no_space(path, f"--resume --out {path}" if started else "choose another --out") from None
        raise


@contextmanager
def continued(folder: RunFolder) -> Iterator[None]:
    """While a run goes on in its folder. Raises UserError where the disk is full; what is done stays."""
    try:
        with owner_only():
            yield
    except Exception as error:
        if is_full(error, folder.path):
            raise no_space(folder.path, f"--resume --out {folder.path}") from None
        raise


def is_full(error: BaseException, path: Path) -> bool:
    """Whether an error comes of a full disk: not every library passes the system's on, so look at it too."""
    return getattr(error, "errno", None) == errno.ENOSPC or shutil.disk_usage(path).free < 2**20


def no_space(path: Path, then: str) -> NoSpace:
    """What to do about it."""
    return NoSpace(f"no space is left for {path}: free some, then {then}")


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
