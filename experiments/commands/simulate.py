"""terry simulate: run a federation, show its progress, and end with a table of results."""

from typing import Annotated

import typer

from terrycloth.experiments.commands.flags import (
    Assignments,
    At,
    CataloguePath,
    Category,
    Clip,
    ConfigFile,
    DataPath,
    Delta,
    Devices,
    Epsilon,
    Format,
    ItemColumn,
    KeepGuests,
    Model,
    NoiseMultiplier,
    OrderColumn,
    Participation,
    Quiet,
    Repeats,
    Rounds,
    RunFolderPath,
    Seed,
    ShopperColumn,
    Split,
    Strict,
    TimeColumn,
    TitleColumn,
    Trust,
    Unit,
    UnknownItems,
    Visit,
    WeightColumn,
    setting,
)
from terrycloth.experiments.commands.stopping import run_stopped, when_stopped
from terrycloth.experiments.settings.config import FLAGS, RunConfig, read_config

EXAMPLE = "Example: terry simulate --data towels --devices 300 --unit interaction --epsilon 8 --out runs/try"


def simulate(
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
    title_column: TitleColumn = None,
    format: Format = None,
    unknown_items: UnknownItems = None,
    keep_guests: KeepGuests = False,
    strict: Strict = False,
    visit: Visit = None,
    split: Split = None,
    at: At = None,
    repeats: Repeats = None,
    model: Model = None,
    dim: Annotated[int | None, setting("dim", "Model")] = None,
    unit: Unit = None,
    trust: Trust = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    noise_multiplier: NoiseMultiplier = None,
    clip: Clip = None,
    secure_aggregation: Annotated[
        bool | None,
        setting("secure_aggregation", "Promise", "--secure-aggregation/--no-secure-aggregation",
                default="with 3 nodes or more"),
    ] = None,
    evaluate: Annotated[str | None, setting("evaluate", "Promise")] = None,
    rounds: Rounds = None,
    participation: Participation = None,
    engine: Annotated[str | None, setting("engine", "Run")] = None,
    nodes: Annotated[int | None, setting("nodes", "Run")] = None,
    trainer: Annotated[str | None, setting("trainer", "Run")] = None,
    torch_device: Annotated[str | None, setting("torch_device", "Run", FLAGS["torch_device"])] = None,
    negative_sampling: Annotated[str | None, setting("negative_sampling", "Run")] = None,
    baselines: Annotated[bool, setting("baselines", "Run", "--baselines")] = False,
    seed: Seed = None,
    log: Annotated[str | None, setting("log", "Run")] = None,
    out: RunFolderPath = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out, which may be latest",
                                         rich_help_panel="Run")] = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train a recommender across simulated devices, and measure its accuracy under its privacy promise."""
    overrides = {
        name: value
        for name, value in locals().items()
        if name in RunConfig.model_fields
        and value is not None
        and (value is not False or name == "secure_aggregation")
    }
    from terrycloth.models.errors import UserError

    if resume and (out is None or overrides or config or assign):
        raise UserError("--resume continues with the settings in --out FOLDER: pass --out and nothing else")
    settings = None if resume else read_config(config, overrides, assign or [])
    if settings is not None:
        from terrycloth.experiments.datasets import check_options, data_options

        check_options(settings.data, data_options(settings))

    from terrycloth.experiments.reports.console import make_console
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.experiments.runs.find_run import find_run
    from terrycloth.experiments.runs.run_folder import choose_path

    if settings is None:
        assert out is not None
        path = find_run(out, finished=False)
    else:
        path = choose_path(out, settings.data, settings.model)
    with when_stopped(lambda: run_stopped(path)):
        with phase("loading", make_console(), quiet=quiet):
            from terrycloth.experiments.reports.terminal import TerminalReporter, print_result
            from terrycloth.experiments.runs import simulation
        reporter = simulation.Reporter() if quiet else TerminalReporter()
        with reporter:
            if settings is None:
                folder = simulation.resume(path, reporter)
            else:
                folder = simulation.simulate(settings, path, reporter)
        if quiet:
            print(folder.path)
        else:
            print_result(folder)
