"""Create the console and progress bars that commands print to."""

import os

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

PIPE_WIDTH = 130  # no table is wider


def make_console() -> Console:
    """Return a console that wraps lines on a terminal, and keeps them whole in a file or a pipe.

    It prints text literally, because names of folders and items may look like Rich markup or emoji.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def make_bar(counted: str, console: Console) -> Progress:
    """Return a progress bar with the label `counted`. Without a terminal it draws nothing."""
    return Progress(
        TextColumn(counted, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
