"""terry data: list the data sets, inspect one, and partition one into devices for Flower's own commands."""

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
    OrderColumn,
    ShopperColumn,
    Strict,
    TimeColumn,
    Trust,
    Unit,
    Visit,
    WeightColumn,
    setting,
)
from terrycloth.experiments.settings.config import RunConfig, read_config

app = typer.Typer(
    no_args_is_help=True,
    help="List the data sets, inspect one, or partition one into devices.",
    epilog="Example: terry data inspect complete-journey --category home-and-bath",
)


@app.command("list", epilog="Example: terry data list")
def list_sources() -> None:
    """List every data set and where it comes from."""
    from rich.table import Table

    from terrycloth.experiments.datasets import SOURCES
    from terrycloth.experiments.reports.console import make_console

    table = Table("name", "what it is", "real", "needs --path")
    for name, source in SOURCES.items():
        table.add_row(
            name,
            source.summary,
            "yes" if source.real else "synthetic",
            "yes" if source.needs_path else "",
        )
    make_console().print(table)


@app.command("inspect", epilog="Example: terry data inspect towels --devices 2000")
def inspect(
    name: Annotated[str, typer.Argument(help="a name from terry data list")],
    path: DataPath = None,
    catalogue: CataloguePath = None,
    category: Category = None,
    devices: Devices = None,
    shopper_column: ShopperColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    order_column: OrderColumn = None,
    visit: Visit = None,
    strict: Strict = False,
) -> None:
    """Read a data set, and print what was kept, what was dropped and why, and what the catalogue holds.

    The report covers time too: how many events a visit holds, whether the order of rows in the file carries
    information, and how many shoppers each split would test.
    """
    options: dict[str, Any] = {
        key: value for key, value in locals().items() if key != "name" and value is not None
    }
    from terrycloth.experiments.datasets import load
    from terrycloth.experiments.datasets.dataset import DataOptions

    dataset = load(name, DataOptions(**options))
    from terrycloth.experiments.reports.inspection import print_dataset

    print_dataset(dataset)


@app.command(
    "partition",
    epilog="Example: terry data partition towels devices --devices 300  "
    "(then: python -m terrycloth.experiments.runs.flower_run devices runs/flower)",
)
def partition(
    name: Annotated[str, typer.Argument(help="a name from terry data list")],
    out: Annotated[Path, typer.Argument(help="new folder, which stands for the devices' own disks")],
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
    split_by: Annotated[str | None, setting("split", "Test", "--split")] = None,
    at: At = None,
    unit: Unit = "interaction",
    trust: Trust = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    identities: Annotated[
        int, typer.Option(help="number of nodes to create keys for, which distributed trust needs", min=0)
    ] = 0,
) -> None:
    """Partition the training events of a data set into devices, for `flwr run` and SuperNodes.

    The flags of the promise set the weakest promise that the devices accept: by default interaction level,
    local trust and ε = 8. It is written to OUT/policy.toml, where it can be edited.
    """
    overrides: dict[str, Any] = {
        key: value for key, value in locals().items() if key in RunConfig.model_fields
    }
    config = read_config(None, overrides | {"data": name, "split": split_by}, [])
    from terrycloth.experiments.datasets import check_options, data_options, load

    check_options(name, data_options(config))
    from terrycloth.client.device_group import DeviceGroup
    from terrycloth.client.secure.secure_round import lay_out_identities
    from terrycloth.experiments.evaluation.split import make_split
    from terrycloth.experiments.runs.run_folder import created
    from terrycloth.experiments.runs.simulation import rule_of
    from terrycloth.experiments.settings.planning import owner_policy
    from terrycloth.models.errors import UserError

    if out.exists():
        raise UserError(f"{out} exists: choose another folder, or remove it")
    dataset = load(name, data_options(config))
    policy = owner_policy(config, dataset.events.num_devices)
    held_out = make_split(dataset, rule_of(config, dataset), config.data_seed)
    train = held_out.train
    if identities > train.num_devices:
        raise UserError(
            f"--identities {identities} is more than the {train.num_devices} devices: each node needs one"
        )
    with created(out, needed_bytes=32 * len(train)):
        DeviceGroup.create(out, dataset.catalogue, train, policy, targets=held_out.test.targets)
        if identities:
            lay_out_identities(out, identities)
    print(f"{out}: {train.num_devices:,} devices, {len(train):,} training events")
    print(held_out.rule.sentence)
    print(f"{out / 'policy.toml'}: what the devices allow")
