"""terry bench: compare the speed of a round here with the same round in other tools, on one machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.bench.sizes import Sizes, read_sizes

EXAMPLE = "Example: terry bench --quick --require opacus=50"


def size(name: str) -> Any:
    """Return a flag whose help and default come from the field of `Sizes` with this name."""
    field = Sizes.model_fields[name]
    return typer.Option(help=f"{field.description} [{field.default:,}]", show_default=False)


def bench(
    devices: Annotated[int | None, size("devices")] = None,
    events: Annotated[int | None, size("events")] = None,
    items: Annotated[int | None, size("items")] = None,
    dim: Annotated[int | None, size("dim")] = None,
    batch: Annotated[int | None, size("batch")] = None,
    negatives: Annotated[int | None, size("negatives")] = None,
    steps: Annotated[int | None, size("steps")] = None,
    epsilon: Annotated[float | None, size("epsilon")] = None,
    repeats: Annotated[int | None, size("repeats")] = None,
    opacus_devices: Annotated[int | None, size("opacus_devices")] = None,
    reference_devices: Annotated[int | None, size("reference_devices")] = None,
    flower_clients: Annotated[int | None, size("flower_clients")] = None,
    pfl_users: Annotated[int | None, size("pfl_users")] = None,
    neural_devices: Annotated[int | None, size("neural_devices")] = None,
    sweep_devices: Annotated[int | None, size("sweep_devices")] = None,
    devices_most: Annotated[int | None, size("devices_most")] = None,
    linear_devices: Annotated[int | None, size("linear_devices")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="use fewer devices, and skip Flower and pfl-research")
    ] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=RATIO: exit with 1 unless NAME reaches that ratio; may be repeated", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="new folder; by default runs/<time>-bench", show_default=False)
    ] = None,
) -> None:
    """Compare the speed of a private round with Opacus, Flower with Ray, and pfl-research.

    All tools train the same model on the same synthetic data, for the same number of steps and under the
    same ε, on all cores. A tool that would take hours trains fewer devices, and its time is scaled up; the
    table says where. The command prints ratios, and writes bench.json and a figure.
    """
    overrides = {
        name: value
        for name, value in locals().items()
        if name not in ("quick", "require", "out") and value is not None
    }
    sizes = read_sizes(overrides, quick=quick)
    from terrycloth.experiments.bench.command import read_requirements, run, unmet

    requirements = read_requirements(require or [])
    folder = out or Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-bench"
    failures = unmet(run(sizes, folder), requirements)
    for line in failures:
        typer.echo(f"terry: {line}", err=True)
    if failures:
        raise typer.Exit(1)
