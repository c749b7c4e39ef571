"""terry frontier: what each promise costs in accuracy, as one table and one page."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.commands.flags import CataloguePath, Category, DataPath, setting

EXAMPLE = (
    "Example: terry frontier --data towels --devices 2000 --split date,next-visit --model linear "
    "--unit shopper --trust central --epsilon 1,2,4,8,inf --seeds 3 --out runs/frontier"
)


def values(name: str, what: str) -> Any:
    """A flag that takes several values, which are crossed with those of the others."""
    return typer.Option("--" + name, help=f"{what}; several, separated by commas", rich_help_panel="Grid",
                        show_default=False)  # fmt: skip


def frontier(
    grid: Annotated[Path | None, typer.Argument(help="a TOML file of [[grid]] tables; flags win over it",
                                                show_default=False)] = None,
    data: Annotated[str | None, values("data", "data sets")] = None,
    path: DataPath = None,
    catalogue: CataloguePath = None,
    category: Category = None,
    order_column: Annotated[str | None, setting("order_column", "Data")] = None,
    visit: Annotated[str | None, values("visit", "what counts as a visit: instant, day")] = None,
    split: Annotated[str | None, values("split", "what tests: date, next-visit, basket, last-item")] = None,
    at: Annotated[str | None, values("at", "dates that part training from test, or parts")] = None,
    repeats: Annotated[str | None, values("repeats", "exclude, include what was bought before")] = None,
    devices: Annotated[str | None, values("devices", "sizes of the federation")] = None,
    model: Annotated[str | None, values("model", "models")] = None,
    unit: Annotated[str | None, values("unit", "what the promise protects")] = None,
    trust: Annotated[str | None, values("trust", "who adds the noise")] = None,
    epsilon: Annotated[str | None, values("epsilon", "ε over the whole run, inf for no promise")] = None,
    delta: Annotated[str | None, values("delta", "δ of the promise")] = None,
    negative_sampling: Annotated[str | None, values("negative_sampling", "clean, leaky")] = None,
    seeds: Annotated[str | None, typer.Option(help="seeds a cell, 0 … N − 1; 3 if not said",
                                              rich_help_panel="Grid", show_default=False)] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="any setting, as key=value,value",
                                                     rich_help_panel="Grid", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="the folder to make or to go on with; runs/frontier-<grid>",
                                             rich_help_panel="Run", show_default=False)] = None,
    jobs: Annotated[int | None, typer.Option(help="cells at once; as many as there are cores", min=1,
                                             rich_help_panel="Run", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="print the page's path and nothing else",
                                        rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Run every cell of a grid, and show how accurate each promise leaves each model.

    With nothing said: two promises in the towel shop, at two sizes. The same command goes on where it was
    stopped. Runs are seeded, to be repeated exactly; that voids their own promise, and the page says so.
    """
    said: dict[str, Any] = {
        name: value
        for name, value in locals().items()
        if name not in {"grid", "assign", "out", "jobs", "quiet"} and value is not None
    }
    from terrycloth.experiments.frontier.folder import FrontierFolder
    from terrycloth.experiments.frontier.frontier import run_frontier
    from terrycloth.experiments.frontier.grid import DEFAULT_GRID, override, read_grid, table_of_flags
    from terrycloth.experiments.frontier.progress import SilentProgress, TerminalProgress
    from terrycloth.models.errors import UserError

    for assignment in assign or []:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: write key=value")
        said[name.strip().replace("-", "_")] = text
    flags = table_of_flags(said)
    if grid is None and flags:
        tables = [flags]
    else:
        tables = [override(table, flags) for table in read_grid(grid or DEFAULT_GRID)]
    named = "towels" if not said else "flags"
    folder = FrontierFolder(out or Path("runs") / f"frontier-{grid.stem if grid else named}")
    progress = SilentProgress() if quiet else TerminalProgress()
    reasons = run_frontier(folder, tables, jobs or os.cpu_count() or 1, progress)
    if not quiet:
        for reason in reasons:
            print(f"not to be had: {reason}")
    print(folder.page)
