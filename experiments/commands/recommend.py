"""terry recommend: a shopper's list, with the exact reason for each item."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: terry recommend --run runs/try --device 17 --top 10"


def recommend(
    run: Annotated[Path, typer.Option(help="a finished run's folder")],
    device: Annotated[int, typer.Option(help="which device, from 0")],
    top: Annotated[int, typer.Option(help="how many items", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """List what a device would show its shopper, and why: every reason is an exact part of the score."""
    from terrycloth.experiments.reports.recommendation import print_recommendations

    print_recommendations(run, device, top, as_json=as_json)
