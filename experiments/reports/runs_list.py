"""List the runs under a folder for `terry ls`."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Column, Table

from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.runs.find_run import runs_under
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.models.errors import UserError

HIT_RATE = "hr@10"


@dataclass(frozen=True)
class Listed:
    """One run. date: when it ended or, if it has not, when it began. hit_rate: HR@10, if it was measured.

    state: `finished`, or how far it came. A setting that cannot be read is empty.
    """

    run: str
    date: str
    data: str
    model: str
    promise: str
    hit_rate: float | None
    state: str


def list_runs(folder: Path) -> list[Listed]:
    """Return the runs under a folder, the newest first. Raises UserError if the folder does not exist."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: terry ls FOLDER lists the runs in another one")
    return [listed(run) for run in runs_under(folder)]


def listed(run: RunFolder) -> Listed:
    """Return one run; a file that is damaged leaves its part empty."""
    began = f"{datetime.fromtimestamp(run.config.stat().st_mtime, UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        result = run.read_result()
    except UserError:
        return unfinished(run, began)
    rate = result.metrics.full[HIT_RATE]
    date = result.date or began
    return Listed(str(run.path), date, result.data.name, result.model, result.label, rate, "finished")


def unfinished(run: RunFolder, began: str) -> Listed:
    """Return a run without a result that can be read."""
    try:
        config, rounds = run.read_config(), len(run.read_rounds())
    except UserError:
        return Listed(str(run.path), began, "", "", "", None, "damaged")
    asked = "" if config.epsilon_asked is None else f", ε = {config.epsilon_asked:g}"
    promise = "not private" if config.unit == "none" else f"{config.unit} level, {config.trust} trust{asked}"
    state = "damaged" if run.result.exists() else f"{rounds:,} of {config.rounds or 0:,} rounds"
    return Listed(str(run.path), began, config.data, config.model, promise, None, state)


def print_runs(folder: Path, *, as_json: bool) -> None:
    """Print the runs under a folder as a table or as JSON. Raises UserError if the folder does not exist."""
    runs = list_runs(folder)
    if as_json:
        print(json.dumps([asdict(each) for each in runs], ensure_ascii=False, indent=2))
        return
    console = make_console()
    if not runs:
        console.print(f"{folder} holds no run: terry simulate makes one")
        return
    table = Table(
        Column("run", overflow="fold"), Column("time (UTC)"), "data", "model", "promise", "HR@10", "state"
    )
    for each in runs:
        rate = "–" if each.hit_rate is None else f"{each.hit_rate:.4f}"
        time = each.date[:16].replace("T", " ")
        table.add_row(each.run, time, each.data, each.model, each.promise, rate, each.state)
    console.print(table)
