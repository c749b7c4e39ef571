"""terry privacy: what a promise means and what it takes, with no data at all."""

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
    help="Say what a promise of privacy means and what it takes, with no data at all.",
    epilog="Example: terry privacy plan --unit shopper --trust central --devices 10000 --epsilon 4",
)


@app.callback()
def privacy() -> None:
    """Make `plan` a word of its own, though it is the only one."""


@app.command(
    "plan",
    epilog="Example: terry privacy plan --unit shopper --trust central --devices 10000 --participation 0.05 "
    "--rounds 200 --epsilon 4",
)
def plan(
    devices: Annotated[int, typer.Option(help="shoppers, one a device", rich_help_panel="Promise",
                                         show_default=False)],
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
    out: Annotated[Path | None, typer.Option(help="write plan.json and a figure into this new folder",
                                             rich_help_panel="Run", show_default=False)] = None,
) -> None:  # fmt: skip
    """Print the noise, ε by each accountant and as rounds go by, and what an attacker can do at most.

    What is left out has the defaults of terry simulate. --epsilon finds the noise, --noise-multiplier finds
    ε, and both together find how many rounds fit.
    """
    said: dict[str, Any] = {name: value for name, value in locals().items() if name != "out"}
    settings = read_config(None, said, [])
    from terrycloth.experiments.reports.privacy_plan import (
        make_privacy_plan,
        new_folder,
        print_plan,
        write_plan,
    )

    if out is not None:
        new_folder(out)
    made = make_privacy_plan(settings, points=8 if out is None else 16)
    if out is not None:
        write_plan(made, out)
    print_plan(made)
