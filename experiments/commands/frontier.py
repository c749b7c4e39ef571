"""terry frontier: measure what each promise costs in accuracy, in one table and one page."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.commands.flags import CataloguePath, Category, DataPath, setting
from terrycloth.experiments.commands.stopping import folder_stopped, when_stopped

CELL_FAILED = 3  # exit code: the frontier is done, but not all of its cells
EXAMPLE = (
    "Example: terry frontier --data towels --devices 2000 --split date,next-visit --model linear "
    "--unit shopper --trust central --epsilon 1,2,4,8,inf --seeds 3 --out runs/frontier"
)


def values(name: str, more: str = "") -> Any:
    """Return a setting's flag for several values; the grid crosses them with the values of other flags."""
    return setting(name, "Grid", "--" + name.replace("_", "-"), more=f"{more}; comma-separated")


def frontier(
    grid: Annotated[Path | None, typer.Argument(help="a TOML file of [[grid]] tables; flags override it",
                                                show_default=False)] = None,
    data: Annotated[str | None, values("data")] = None,
    path: DataPath = None,
    catalogue: CataloguePath = None,
    category: Category = None,
    order_column: Annotated[str | None, setting("order_column", "Data")] = None,
    visit: Annotated[str | None, values("visit")] = None,
    split: Annotated[str | None, values("split")] = None,
    at: Annotated[str | None, values("at")] = None,
    repeats: Annotated[str | None, values("repeats")] = None,
    devices: Annotated[str | None, values("devices")] = None,
    model: Annotated[str | None, values("model")] = None,
    unit: Annotated[str | None, values("unit")] = None,
    trust: Annotated[str | None, values("trust")] = None,
    epsilon: Annotated[str | None, values("epsilon", "; inf: no promise")] = None,
    delta: Annotated[str | None, values("delta")] = None,
    negative_sampling: Annotated[str | None, values("negative_sampling")] = None,
    seeds: Annotated[str | None, typer.Option(help="number of seeds per cell, 0 … N − 1; by default 3",
                                              rich_help_panel="Grid", show_default=False)] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="any setting, as key=value,value",
                                                     rich_help_panel="Grid", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="new folder, or one to continue; runs/frontier-<grid>",
                                             rich_help_panel="Run", show_default=False)] = None,
    jobs: Annotated[int | None, typer.Option(help="cells run at once; by default one per core", min=1,
                                             rich_help_panel="Run", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="print only the path of the page",
                                        rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Run every cell of a grid, and show how accurate each model is under each promise.

    Without arguments, the grid is two promises in the towel shop at two sizes. After a stop, the same
    command continues. The exit code is 3 if a cell failed. Runs are seeded so that they can be repeated
    exactly; this voids their own promise, as the page says.
    """
    given: dict[str, Any] = {
        name: value
        for name, value in locals().items()
        if name not in {"grid", "assign", "out", "jobs", "quiet"} and value is not None
    }
    from terrycloth.experiments.frontier.grid import DEFAULT_GRID, expand, override, read_grid, table_of_flags
    from terrycloth.experiments.reports.console import make_console
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.models.errors import UserError

    for assignment in assign or []:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: write key=value")
        given[name.strip().replace("-", "_")] = text
    flags = table_of_flags(given)
    if grid is None and flags:
        tables = [flags]
    else:
        tables = [override(table, flags) for table in read_grid(grid or DEFAULT_GRID)]
    expand(tables)  # what is wrong with the grid is told before anything heavy is loaded
    default_name = "towels" if not given else "flags"
    path = out or Path("runs") / f"frontier-{grid.stem if grid else default_name}"
    with when_stopped(lambda: folder_stopped(path)):
        with phase("loading", make_console(), quiet=quiet):
            from terrycloth.experiments.frontier.folder import FrontierFolder
            from terrycloth.experiments.frontier.frontier import run_frontier
            from terrycloth.experiments.frontier.progress import SilentProgress, TerminalProgress
        folder = FrontierFolder(path)
        progress = SilentProgress() if quiet else TerminalProgress()
        finished = run_frontier(folder, tables, jobs or os.cpu_count() or 1, progress)
    if quiet:
        print(folder.page)
    else:
        # The columns of the table are fixed when it is imported, so only after the run has added the metrics
        # and baselines of other packages.
        from terrycloth.experiments.frontier.terminal_table import terminal_table

        console = make_console()
        console.print(terminal_table(finished.rows))
        for reason in finished.reasons:
            console.print(f"not available: {reason}")
        console.print(folder.page.resolve().as_uri(), soft_wrap=True)
    if finished.failed:
        raise typer.Exit(CELL_FAILED)
