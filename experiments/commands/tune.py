"""terry tune: search for settings on a validation split, and report what the search costs."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.commands.flags import (
    At,
    CataloguePath,
    Category,
    DataPath,
    Delta,
    Devices,
    Epsilon,
    ItemColumn,
    Model,
    OrderColumn,
    Participation,
    Repeats,
    ShopperColumn,
    Split,
    Strict,
    TimeColumn,
    Trust,
    Unit,
    Visit,
    WeightColumn,
    setting,
)
from terrycloth.experiments.commands.stopping import folder_stopped, when_stopped
from terrycloth.experiments.settings.config import RunConfig, read_config

EXAMPLE = (
    "Example: terry tune --data towels --devices 2000 --model linear --unit shopper --trust central "
    "--epsilon 4 --trials 50 --out runs/tune"
)


def tune(
    data: Annotated[str | None, setting("data", "Data")] = None,
    path: DataPath = None,
    catalogue: CataloguePath = None,
    category: Category = None,
    devices: Devices = None,
    shopper_column: ShopperColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    order_column: OrderColumn = None,
    strict: Strict = False,
    visit: Visit = None,
    split: Split = None,
    at: At = None,
    repeats: Repeats = None,
    model: Model = None,
    unit: Unit = None,
    trust: Trust = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    participation: Participation = None,
    metric: Annotated[str, typer.Option(help="ndcg@10, hr@10 (whole catalogue), sampled_ndcg@10 or "
                                        "sampled_hr@10 (99 negatives)",
                                        rich_help_panel="Search")] = "ndcg@10",
    trials: Annotated[int, typer.Option(help="number of settings to try; the first are the defaults", min=1,
                                        rich_help_panel="Search")] = 50,
    seeds: Annotated[int, typer.Option(help="runs per trial, because the noise of runs differs", min=1,
                                       rich_help_panel="Search")] = 3,
    out: Annotated[Path | None, typer.Option(help="new folder, or one to continue; by default "
                                             "runs/tune-<data>-<model>", rich_help_panel="Run",
                                             show_default=False)] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings, which are not searched; flags "
                                                "override it", rich_help_panel="Run",
                                                show_default=False)] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="any setting, as key=value, which is not "
                                                     "searched", rich_help_panel="Run",
                                                     show_default=False)] = None,
    jobs: Annotated[int | None, typer.Option(help="runs at once; by default one per core (a trial "
                                             "uses at most one per seed)", min=1,
                                             rich_help_panel="Run", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="print only the path of the best settings",
                                        rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Search for the best settings under a promise, on a validation split.

    Each trial is a run under that promise. The last purchase in the training data is held out for
    validation; the search never looks at the test purchase. Settings that you pass are not searched. After a
    stop, the same command continues. It ends with settings for terry simulate --config, and with the privacy
    cost of the search itself, which ε does not include.
    """
    overrides: dict[str, Any] = {
        name: value
        for name, value in locals().items()
        if name in RunConfig.model_fields and value is not None and value is not False
    }
    settings = read_config(config, overrides, assign or [])
    from terrycloth.experiments.datasets import check_options, data_options

    check_options(settings.data, data_options(settings))
    from terrycloth.experiments.reports.console import make_console
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.models.errors import UserError

    path = out or Path("runs") / f"tune-{settings.data}-{settings.model}"
    try:
        with when_stopped(lambda: folder_stopped(path)), phase("loading", make_console(), quiet=quiet):
            from terrycloth.experiments.tune.tune import runner_in_processes
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError('terry tune needs Optuna: pip install "terrycloth[tune]"') from None
    from terrycloth.experiments.tune import tune as search
    from terrycloth.experiments.tune.folder import SearchFolder
    from terrycloth.experiments.tune.progress import Silent, TerminalProgress
    from terrycloth.experiments.tune.search import RUNS_AT_ONCE

    folder = SearchFolder(path)
    parallel_runs = min(jobs or os.cpu_count() or 1, RUNS_AT_ONCE * seeds)
    with (
        when_stopped(lambda: folder_stopped(path)),
        runner_in_processes(folder, settings, parallel_runs) as runner,
    ):
        lines = search.tune(
            folder, settings, metric=metric, trials=trials, seeds=seeds, runner=runner,
            progress=Silent() if quiet else TerminalProgress(metric),
        )  # fmt: skip
    if not quiet:
        for line in lines:
            typer.echo(line)
    typer.echo(folder.best)
