"""terry compare: compare finished runs, paired by shopper."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: terry compare runs/open runs/private"


def compare(
    runs: Annotated[list[Path], typer.Argument(help="two or more finished run folders on the same data; "
                                                "latest: the newest under runs/")],
    json: Annotated[Path | None, typer.Option(help="also write the table to this new file",
                                              show_default=False)] = None,
) -> None:  # fmt: skip
    """Compare the accuracy of finished runs with the first one, and test whether differences may be chance.

    Every run's model ranks the same shoppers' held-out items again, so that runs are paired shopper by
    shopper. The simulator makes this measurement; no device releases it.
    """
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.experiments.runs.find_run import find_run

    if len(runs) > 1:
        runs = [find_run(path) for path in runs]
    with phase("loading"):
        from terrycloth.experiments.reports.comparison_table import print_comparison

    print_comparison(runs, json)
