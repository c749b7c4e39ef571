"""The folder of a run. It holds all that is needed to read, repeat or continue the run, for its owner only.

config.toml          every resolved setting, and the versions of the packages used
rounds.csv           one line per round; private to the server under central trust, since counts are exact
result.json          the result and its promise; result.schema.json describes it
model.safetensors    the shared parameters        ┐ what a device needs to serve
catalogue.parquet    the public catalogue         ┘
figures/             PNG and SVG
checkpoint.safetensors   the server's state to resume from; it names the run, so that devices tell runs apart
newest-checkpoint.json   names the newest checkpoint, so that an older one is refused
server.lock              keeps a second server from using the folder
run.lock                 keeps a second run from using the folder
data.fingerprint         tells a resumed run whether its data have changed; as private as the data
devices/             stands for the devices' own disks: private, except in a simulation
"""

import csv
import errno
import io
import json
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from terrycloth.experiments.runs.files import write_whole
from terrycloth.experiments.runs.result import SCHEMA, Result, Versions
from terrycloth.experiments.settings.config import RunConfig, explain
from terrycloth.models.durable import locked, owner_only
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
    "answered",  # exact number of devices, which ε does not cover; under central trust, private to the server
    "refused",  # counts by reason, which ε does not cover either
    "invalid",
    "seconds",
]


class NoSpace(UserError):
    """The disk is full. The settings of the run are not at fault."""


class RunFolder:
    """The paths of one run's files, and how to read and write them."""

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
        self.lock = path / "run.lock"
        self.fingerprint = path / "data.fingerprint"

    def write_config(self, config: RunConfig) -> None:
        """Write every setting that has a value, and the versions of the packages."""
        values = config.model_dump(mode="json", exclude_none=True)
        write_whole(self.config, tomli_w.dumps({**values, "versions": Versions.installed().model_dump()}))

    def read_config(self) -> RunConfig:
        """Return the settings of an existing run. Raises UserError if they are missing or invalid."""
        try:
            values = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            problem = "is not a run folder, or its start was interrupted: it has no config.toml to be read"
            raise UserError(f"{self.path} {problem if self.path.exists() else 'does not exist'}") from None
        values.pop("versions", None)
        try:
            return RunConfig.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{self.config}: {explain(error)}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run out of the folder. Raises UserError if another one is at work in it."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.lock, wait=False))
            except BlockingIOError:
                raise UserError(
                    f"another terry is at work in {self.path}: wait until it ends, or choose another --out"
                ) from None
            yield

    def check_data(self, fingerprint: str) -> None:
        """Raise UserError if the run began with other data, by their fingerprint."""
        if not self.fingerprint.exists():  # a run of an earlier version
            return
        if self.fingerprint.read_text(encoding="utf-8").strip() != fingerprint:
            raise UserError(
                f"the data of {self.path} have changed since the run began: bring them back, or start a new "
                "run"
            )

    def write_rounds(self, rows: list[dict[str, Any]]) -> None:
        """Write all rounds so far, replacing the file in one step."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.rounds, text.getvalue())

    def read_rounds(self) -> list[dict[str, Any]]:
        """Return the rounds on disk as text values, or none without a file. Raises UserError if damaged."""
        if not self.rounds.exists():
            return []
        try:
            with self.rounds.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
        except (ValueError, csv.Error):
            raise self.damaged_rounds() from None
        incomplete = any(None in row or None in row.values() for row in rows)
        numbers = [str(1 + row) for row in range(len(rows))]
        if incomplete or reader.fieldnames != COLUMNS or [row["round"] for row in rows] != numbers:
            raise self.damaged_rounds()
        return rows

    def damaged_rounds(self) -> UserError:
        """Return the error to raise if rounds.csv is damaged."""
        return UserError(f"{self.rounds} is damaged: remove {self.path} and run it again")

    def write_result(self, result: Result) -> None:
        """Write result.json, and its schema as result.schema.json."""
        write_whole(self.result, result.model_dump_json(by_alias=True, indent=2) + "\n")
        schema = json.dumps(Result.model_json_schema(by_alias=True), indent=2) + "\n"
        write_whole(self.path / "result.schema.json", schema)

    def read_result(self) -> Result:
        """Return the result of a finished run. Raises UserError if there is none, or it is damaged."""
        try:
            return Result.model_validate_json(self.result.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"{self.path} holds no finished run: use terry simulate --resume") from None
        except ValueError:
            raise UserError(
                f"{self.result} is damaged, or of another schema than {SCHEMA}: remove {self.path} and run "
                "it again"
            ) from None


def choose_path(out: Path | None, data: str, model: str) -> Path:
    """Return --out, or by default runs/<time>-<data>-<model>. Raises UserError if the path exists."""
    path = out or Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{data}-{model}"
    if path.exists():
        raise UserError(f"{path} exists: choose another --out, remove it, or continue it with --resume")
    return path


@contextmanager
def created(path: Path, needed_bytes: int) -> Iterator[RunFolder]:
    """Create a run folder, and remove it again if the block fails before the first round is done.

    Raises NoSpace if the disk lacks `needed_bytes` or fills up, and UserError if creating the folder fails.
    """
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise NoSpace(
            f"{parent} has {free / 2**20:.0f} MiB free, but the run folder needs about "
            f"{needed_bytes / 2**20:.0f} MiB: free some space, or choose another --out"
        )
    new_folders = [folder for folder in [path.absolute(), *path.absolute().parents] if not folder.exists()]
    folder = RunFolder(path)
    try:
        with owner_only():
            path.mkdir(parents=True)
    except FileExistsError:  # another process created it, so it is not removed
        raise UserError(f"{path} exists: choose another --out") from None
    except OSError as error:
        raise UserError(f"{path} cannot be created ({error.strerror}): choose another --out") from None
    try:
        with owner_only():
            yield folder
    except BaseException as error:
        full = is_full(error, parent)
        started = folder.rounds.exists()
        if not started:
            shutil.rmtree(path, ignore_errors=True)
            for parent_folder in new_folders[1:]:
                _remove_if_empty(parent_folder)
        if full and isinstance(error, Exception):
            raise no_space(path, f"--resume --out {path}" if started else "choose another --out") from None
        raise


@contextmanager
def continued(folder: RunFolder) -> Iterator[None]:
    """Continue a run in its folder. Raises NoSpace if the disk is full; finished rounds are kept."""
    try:
        with owner_only():
            yield
    except Exception as error:
        if is_full(error, folder.path):
            raise no_space(folder.path, f"--resume --out {folder.path}") from None
        raise


def is_full(error: BaseException, path: Path) -> bool:
    """Whether a full disk caused an error. Some libraries hide the system's error, so check the disk too."""
    return getattr(error, "errno", None) == errno.ENOSPC or shutil.disk_usage(path).free < 2**20


def no_space(path: Path, then: str) -> NoSpace:
    """Return the error for a full disk, which says what to do."""
    return NoSpace(f"no space is left for {path}: free some, then {then}")


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
