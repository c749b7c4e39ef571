"""terry recommend: list recommendations for one shopper, with the exact reasons for each item."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: terry recommend --run runs/try --device 17 --top 10"


def recommend(
    run: Annotated[Path, typer.Option(help="folder of a finished run")],
    device: Annotated[int, typer.Option(help="number of the device, from 0")],
    top: Annotated[int, typer.Option(help="number of items to list", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """List the items that a device would recommend, with reasons that are exact parts of the scores."""
    from terrycloth.experiments.reports.recommendation import print_recommendations

    print_recommendations(run, device, top, as_json=as_json)
