"""terry ls: list the runs under a folder."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: terry ls"


def ls(
    folder: Annotated[Path, typer.Argument(help="folder that holds run folders")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """List runs with their time, data, model, promise and accuracy, the newest first.

    Where a command takes a run, `latest` stands for the newest one under runs/.
    """
    from terrycloth.experiments.reports.runs_list import print_runs

    print_runs(folder, as_json=as_json)
