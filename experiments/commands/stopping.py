"""What is said when a command is interrupted: what is kept, and the command that goes on."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Stopped(Exception):
    """The user interrupted a command. Its text is one line that says what is kept and how to go on."""


@contextmanager
def when_stopped(said: Callable[[], str]) -> Iterator[None]:
    """Turn an interrupt of the block into Stopped with the text that `said` returns afterwards."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(said()) from None


def same_command() -> str:
    """Return the command that is running, as it was typed."""
    return shlex.join(["terry", *sys.argv[1:]])


def run_stopped(path: Path) -> str:
    """Return what is left of a run in its folder, and the command that goes on."""
    from terrycloth.experiments.runs.run_folder import RunFolder

    folder = RunFolder(path)
    if folder.result.exists():
        return f"stopped; the run is finished: {path}"
    if folder.rounds.exists():
        return f"stopped; go on with: {shlex.join(['terry', 'simulate', '--resume', '--out', str(path)])}"
    return "stopped before the first round was done; nothing is kept"


def folder_stopped(path: Path) -> str:
    """Return what is left of a command that continues in its folder if it is repeated."""
    if not path.is_dir():
        return "stopped; nothing is kept"
    return f"stopped; what is finished is kept in {path}; go on with: {same_command()}"
