"""The command line `terry`. Each verb imports what it needs only when it runs, so that help is fast."""

import errno
import io
import sys
from importlib import metadata
from typing import Annotated

import click
import typer

import terrycloth.experiments.commands.bench as bench
import terrycloth.experiments.commands.check as check
import terrycloth.experiments.commands.compare as compare
import terrycloth.experiments.commands.data as data
import terrycloth.experiments.commands.device as device
import terrycloth.experiments.commands.federation as federation
import terrycloth.experiments.commands.frontier as frontier
import terrycloth.experiments.commands.ls as ls
import terrycloth.experiments.commands.privacy as privacy
import terrycloth.experiments.commands.recommend as recommend
import terrycloth.experiments.commands.report as report
import terrycloth.experiments.commands.settings as settings
import terrycloth.experiments.commands.simulate as simulate
import terrycloth.experiments.commands.task as task
import terrycloth.experiments.commands.try_orders as try_orders
import terrycloth.experiments.commands.tune as tune
from terrycloth.experiments.commands.stopping import Stopped
from terrycloth.experiments.settings.config import decimal_comma
from terrycloth.experiments.settings.renamed import with_new_flags
from terrycloth.models.durable import owner_only
from terrycloth.models.errors import UserError

STOPPED = 130

app = typer.Typer(
    name="terry",
    help="Train recommenders across shoppers' devices, and measure what a privacy promise costs in accuracy.",
    epilog="Start with: terry simulate --data towels --devices 2000 --unit interaction --epsilon 8",
    no_args_is_help=True,
    suggest_commands=False,  # click already suggests commands
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data.app, name="data")
app.add_typer(privacy.app, name="privacy")
app.add_typer(check.app, name="check")
app.add_typer(device.app, name="device")
app.add_typer(task.app, name="task")
app.add_typer(federation.app, name="federation")
app.command("try", epilog=try_orders.EXAMPLE)(try_orders.try_orders)
app.command("report", epilog=report.REPORT_EXAMPLE)(report.report)
app.command("datasheet", epilog=report.DATASHEET_EXAMPLE)(report.datasheet)
app.command("simulate", epilog=simulate.EXAMPLE)(simulate.simulate)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("frontier", epilog=frontier.EXAMPLE)(frontier.frontier)
app.command("compare", epilog=compare.EXAMPLE)(compare.compare)
app.command("tune", epilog=tune.EXAMPLE)(tune.tune)
app.command("ls", epilog=ls.EXAMPLE)(ls.ls)
app.command("settings", epilog=settings.EXAMPLE)(settings.settings)
app.command("recommend", epilog=recommend.EXAMPLE)(recommend.recommend)


def print_version(requested: bool) -> None:
    """Print the version and exit, ignoring all other arguments."""
    if requested:
        print(f"terrycloth {metadata.version('terrycloth')}")
        raise typer.Exit


@app.callback()
def terry(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Accept the options that come before a verb."""


def comma_hint(error: click.ClickException) -> str:
    """Return a hint if an error is about a number with a decimal comma, else nothing."""
    quoted = error.format_message().split("'")
    hint = next((found for text in quoted if (found := decimal_comma(text)) is not None), None)
    return "" if hint is None else f" {hint[0].upper()}{hint[1:]}."


@owner_only()
def main() -> None:
    """Run the command line and exit.

    The exit code is 0 on success, 2 for an error that the user can fix (one line on stderr says how), 3 if a
    frontier is done but a cell of it failed, 1 for a bug (with a traceback), and 130 after an interrupt.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # print "?" where the encoding lacks ε
    try:
        code = app(with_new_flags(sys.argv[1:]), standalone_mode=False)
        if code == STOPPED:  # what typer returns after an interrupt
            print("terry: stopped; nothing is kept", file=sys.stderr)
        sys.exit(code)
    except Stopped as stopped:
        print(f"terry: {stopped}", file=sys.stderr)
        sys.exit(STOPPED)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        print(f"terry: {error.format_message()}{comma_hint(error)}", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"terry: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"terry: the path {str(error.filename)[:60]}… is too long: use a shorter one", file=sys.stderr)
        sys.exit(2)
