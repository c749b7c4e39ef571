"""terry check: check what other packages bring, without data."""

import sys
from typing import Annotated

import typer

EXAMPLE = "Example: terry check model own_model:TwoTastes"

app = typer.Typer(
    no_args_is_help=True,
    help="Check a model of your own before you train it.",
    epilog=EXAMPLE,
)


@app.callback()
def check() -> None:
    """Make typer treat `model` as a subcommand although it is the only one."""


@app.command("model", epilog=EXAMPLE)
def model(
    path: Annotated[str, typer.Argument(help="package.module:Class, or the name of an entry point")],
) -> None:
    """Check that a model keeps what training, privacy and serving rely on; exit with 2 if it does not.

    PATH is package.module:Class, or the name under which an installed package offers a model.
    """
    from terrycloth.client.training.compiled.compile import nothing_compiled
    from terrycloth.experiments.model_check.check_model import check_model
    from terrycloth.models.errors import UserError

    if nothing_compiled():
        print("compiling the training loops, once per machine: up to a minute", file=sys.stderr)
    failed = checked = 0
    for outcome in check_model(path):
        failed, checked = failed + (not outcome.passed), checked + 1
        why = "" if outcome.passed else f": {outcome.reason}"
        print(f"{'ok' if outcome.passed else 'failed':8}{outcome.check}{why}", flush=True)
    if failed:
        raise UserError(f"{failed} of {checked} checks of {path} failed: change the model and check it again")
