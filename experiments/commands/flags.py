"""Flags that several verbs share. The help of each is the description of its setting in `RunConfig`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.settings.config import RunConfig


def setting(name: str, panel: str, *flags: str, default: str | bool = False, more: str = "") -> Any:
    """Return a flag, listed under the heading `panel`, whose help is the description of a setting.

    flags: the flag's names, by default the setting's. default: how help names the default, if it does. more:
    what the flag accepts besides, which follows the description.
    """
    description = (RunConfig.model_fields[name].description or "") + more
    return typer.Option(*flags, help=description, rich_help_panel=panel, show_default=default)


DataPath = Annotated[Path | None, setting("path", "Data")]
CataloguePath = Annotated[Path | None, setting("catalogue", "Data")]
Category = Annotated[str | None, setting("category", "Data")]
Devices = Annotated[int | None, setting("devices", "Data", default="all shoppers")]
ShopperColumn = Annotated[str | None, setting("shopper_column", "Data")]
ItemColumn = Annotated[str | None, setting("item_column", "Data")]
TimeColumn = Annotated[str | None, setting("time_column", "Data")]
WeightColumn = Annotated[str | None, setting("weight_column", "Data")]
OrderColumn = Annotated[str | None, setting("order_column", "Data")]
TitleColumn = Annotated[str | None, setting("title_column", "Data")]
Format = Annotated[str | None, setting("format", "Data")]
UnknownItems = Annotated[str | None, setting("unknown_items", "Data")]
KeepGuests = Annotated[bool, setting("keep_guests", "Data", "--keep-guests")]
Visit = Annotated[str | None, setting("visit", "Data")]
Strict = Annotated[bool, setting("strict", "Data", "--strict")]

Split = Annotated[str | None, setting("split", "Test")]
At = Annotated[str | None, setting("at", "Test")]
Repeats = Annotated[str | None, setting("repeats", "Test")]

Model = Annotated[str | None, setting("model", "Model")]
Unit = Annotated[str | None, setting("unit", "Promise")]
Trust = Annotated[str | None, setting("trust", "Promise")]
Epsilon = Annotated[str | None, setting("epsilon", "Promise")]
Delta = Annotated[str | None, setting("delta", "Promise")]
NoiseMultiplier = Annotated[str | None, setting("noise_multiplier", "Promise")]
Clip = Annotated[str | None, setting("clip", "Promise")]
Rounds = Annotated[int | None, setting("rounds", "Rounds")]
Participation = Annotated[float | None, setting("participation", "Rounds")]

Seed = Annotated[int | None, setting("seed", "Run")]
RunFolderPath = Annotated[
    Path | None,
    typer.Option(
        help="run folder; by default runs/<time>-<data>-<model>", rich_help_panel="Run", show_default=False
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(help="TOML file of settings; flags override it", rich_help_panel="Run", show_default=False),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="any setting, as key=value; overrides all", rich_help_panel="Run", show_default=False
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="print only the path of the run folder", rich_help_panel="Run")
]
