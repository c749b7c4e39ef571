"""`terry`: the command line. Verbs import what they need when they run, so that help is quick."""

import io
import sys
from importlib import metadata
from typing import Annotated

import click
import typer

import terrycloth.experiments.commands.bench as bench
import terrycloth.experiments.commands.compare as compare
import terrycloth.experiments.commands.data as data
import terrycloth.experiments.commands.frontier as frontier
import terrycloth.experiments.commands.privacy as privacy
import terrycloth.experiments.commands.recommend as recommend
import terrycloth.experiments.commands.simulate as simulate
import terrycloth.experiments.commands.tune as tune
from terrycloth.experiments.settings.renamed import with_new_flags
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError

STOPPED = 130

app = typer.Typer(
    name="terry",
    help="Train recommenders across shoppers' devices, and say what the privacy promise costs.",
    epilog="Start with: terry simulate --data towels --devices 2000 --unit interaction --epsilon 8",
    no_args_is_help=True,
    suggest_commands=False,  # click suggests too
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data.app, name="data")
app.add_typer(privacy.app, name="privacy")
app.command("simulate", epilog=simulate.EXAMPLE)(simulate.simulate)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("frontier", epilog=frontier.EXAMPLE)(frontier.frontier)
app.command("compare", epilog=compare.EXAMPLE)(compare.compare)
app.command("tune", epilog=tune.EXAMPLE)(tune.tune)
app.command("recommend", epilog=recommend.EXAMPLE)(recommend.recommend)


def say_version(wanted: bool) -> None:
    """Print it and stop, whatever else was said."""
    if wanted:
        print(f"terrycloth {metadata.version('terrycloth')}")
        raise typer.Exit


@app.callback()
def terry(
    version: Annotated[
        bool,
        typer.Option("--version", callback=say_version, is_eager=True, help="Say which version this is."),
    ] = False,
) -> None:
    """What stands before a verb."""


@owner_only()
def main() -> None:
    """Exit code 0: done; 2: the user can mend it, one line says how; 1: a bug."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where ε cannot be written, "?" can
    try:
        code = app(with_new_flags(sys.argv[1:]), standalone_mode=False)
        if code == STOPPED:  # typer's answer to an interrupt
            print(
                "terry: stopped; go on with terry simulate --resume --out FOLDER, once a round is done, or "
                "with the same terry frontier or terry tune",
                file=sys.stderr,
            )
        sys.exit(code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        print(f"terry: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"terry: {error}", file=sys.stderr)
        sys.exit(2)
