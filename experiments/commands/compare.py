"""terry compare: finished runs side by side, paired by shopper."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: terry compare runs/open runs/private"


def compare(
    runs: Annotated[list[Path], typer.Argument(help="finished run folders, two or more, of the same data")],
    json: Annotated[Path | None, typer.Option(help="write the table into this new file too",
                                              show_default=False)] = None,
) -> None:  # fmt: skip
    """Show how accurate runs are beside the first of them, and whether the difference may be chance.

    Every run's model ranks the held-out items of the same shoppers again, so they are paired shopper by
    shopper: the simulator's measurement, which no device releases.
    """
    from terrycloth.experiments.reports.comparison_table import print_comparison

    print_comparison(runs, json)
