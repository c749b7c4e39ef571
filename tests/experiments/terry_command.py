"""Run `terry` in the process of a test."""

import sys
from collections.abc import Callable

import pytest

from terrycloth.experiments.cli import main

Run = Callable[..., tuple[int, str, str]]


def terry_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *group: str) -> Run:
    """Return a function that runs `terry GROUP… ARGUMENTS…`, and returns exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["terry", *group, *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        assert ended.value.code is None or isinstance(ended.value.code, int)
        return ended.value.code or 0, printed.out, printed.err

    return run
