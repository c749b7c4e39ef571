"""Where commands print: text as it is, whole lines into a pipe, and a bar where there is a terminal."""

import os

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

PIPE_WIDTH = 130  # of tables: none of ours is wider


def make_console() -> Console:
    """Whole lines where they go to a file or a pipe; wrapped to the width of a terminal.

    Text is printed as it is: names of folders and items may hold what Rich would read as markup or emoji.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def make_bar(counted: str, console: Console) -> Progress:
    """A bar over what is counted; none where there is no terminal."""
    return Progress(
        TextColumn(counted, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
