"""terry recommend: list recommendations, with the exact reasons for each item."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: terry recommend --run latest --device 17 --top 10"


def recommend(
    run: Annotated[Path, typer.Option(help="folder of a finished run; latest: the newest under runs/")],
    device: Annotated[int | None, typer.Option(help="number of the device, from 0",
                                                 show_default=False)] = None,
    new: Annotated[bool, typer.Option("--new", help="list for a shopper who has bought nothing")] = False,
    everyone: Annotated[bool, typer.Option("--all", help="list for every device, into --csv")] = False,
    csv: Annotated[Path | None, typer.Option(help="new file for the lists of --all; it is private",
                                             show_default=False)] = None,
    top: Annotated[int, typer.Option(help="number of items to list", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:  # fmt: skip
    """List the items that a device would recommend, with reasons that are exact parts of the scores.

    The purchases that the list is made from come first. Say for whom by --device, --new or --all.
    """
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.experiments.runs.find_run import find_run
    from terrycloth.models.errors import UserError

    if (device is not None) + new + everyone != 1:
        raise UserError("say for whom: --device NUMBER, --new (a shopper without purchases), or --all")
    if everyone and csv is None:
        raise UserError("--all needs --csv FILE: the lists of all devices are too long for a terminal")
    if csv is not None and not everyone:
        raise UserError("--csv is for the lists of all devices: add --all, or use --json for one")
    run = find_run(run)
    with phase("loading"):
        from terrycloth.experiments.reports.recommendation import print_recommendations, write_all

    if csv is None:
        print_recommendations(run, device, top, as_json=as_json)
        return
    with phase("listing items for every device"):
        devices = write_all(run, top, csv)
    print(f"{csv}: {top} items for each of {devices:,} devices; the file is private")
