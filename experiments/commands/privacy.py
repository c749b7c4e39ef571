"""terry privacy: work out what a promise means and what it needs, without data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.commands.flags import (
    Clip,
    Delta,
    Epsilon,
    Model,
    NoiseMultiplier,
    Participation,
    Rounds,
    Trust,
    Unit,
    setting,
)
from terrycloth.experiments.settings.config import read_config

app = typer.Typer(
    no_args_is_help=True,
    help="Work out what a privacy promise means and what it needs, without any data.",
    epilog="Example: terry privacy plan --unit shopper --trust central --devices 10000 --epsilon 4",
)


@app.callback()
def privacy() -> None:
    """Make typer treat `plan` as a subcommand although it is the only one."""


@app.command(
    "plan",
    epilog="Example: terry privacy plan --unit shopper --trust central --devices 10000 --participation 0.05 "
    "--rounds 200 --epsilon 4",
)
def plan(
    devices: Annotated[int, setting("devices", "Promise")],
    unit: Unit = None,
    trust: Trust = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    noise_multiplier: NoiseMultiplier = None,
    clip: Clip = None,
    rounds: Rounds = None,
    participation: Participation = None,
    sampling_rate: Annotated[float | None, setting("sampling_rate", "Rounds")] = None,
    steps_per_round: Annotated[int | None, setting("steps_per_round", "Rounds")] = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option(help="new folder for plan.json and a figure",
                                             rich_help_panel="Run", show_default=False)] = None,
) -> None:  # fmt: skip
    """Print the noise, ε by each accountant and as rounds pass, and the most an attacker can achieve.

    Flags have the same defaults as in terry simulate. From --epsilon the command computes the noise, from
    --noise-multiplier it computes ε, and from both it computes how many rounds fit.
    """
    overrides: dict[str, Any] = {name: value for name, value in locals().items() if name != "out"}
    settings = read_config(None, overrides, [])
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.experiments.reports.privacy_plan import (
        make_privacy_plan,
        new_folder,
        print_plan,
        write_plan,
    )

    if out is not None:
        new_folder(out)
    with phase("finding the noise, and ε by each accountant"):
        privacy_plan = make_privacy_plan(settings, points=8 if out is None else 16)
    if out is not None:
        write_plan(privacy_plan, out)
    print_plan(privacy_plan)
