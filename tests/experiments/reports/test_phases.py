"""Each phase is named, with the time left, on a terminal and in a pipe; no phase is silent for long."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

import terrycloth.experiments.reports.phases
from terrycloth.experiments.reports.phases import Phases, phase


class Clock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def piped() -> tuple[Phases, Clock, Callable[[], list[str]]]:
    """Return phases that print into a pipe, their clock, and a function that returns the new lines."""
    file, clock = io.StringIO(), Clock()

    def printed() -> list[str]:
        text = file.getvalue()
        file.seek(0)
        file.truncate()
        return text.splitlines()

    return Phases(Console(file=file, width=200), clock), clock, printed


def test_a_pipe_gets_the_name_of_each_phase() -> None:
    phases, _, printed = piped()
    phases.begin("reading the data")
    phases.begin("tuning popularity", 24)
    assert printed() == ["reading the data …", "tuning popularity …"]


def test_a_pipe_gets_a_line_after_three_seconds_and_then_at_doubling_intervals() -> None:
    phases, clock, printed = piped()
    phases.begin("tuning", 200)
    printed()
    lines = {}
    for second in range(1, 101):
        clock.now = float(second)
        phases.step()
        if text := printed():
            lines[second] = text
    assert lines[3] == ["tuning: 3 of 200, about 197 s left".replace("197 s", "3 min")]
    assert list(lines) == [3, 9, 21, 45, 93], "after three seconds, then at doubling intervals"
    assert lines[93] == ["tuning: 93 of 200, about 107 s left"]


def test_a_new_phase_starts_its_count_and_time_anew() -> None:
    phases, clock, printed = piped()
    phases.begin("one", 10)
    clock.now = 100.0
    phases.begin("two", 10)
    phases.step()
    assert printed() == ["one …", "two …"]
    clock.now = 103.0
    phases.step()
    assert printed() == ["two: 2 of 10, about 12 s left"]


def test_a_step_of_a_phase_without_a_total_prints_nothing() -> None:
    phases, clock, printed = piped()
    phases.begin("measuring")
    clock.now = 100.0
    phases.step()
    assert printed() == ["measuring …"]


@pytest.mark.parametrize(("pause", "printed_at_last"), [(0.0, ["reading …"]), (60.0, [])])
def test_a_phase_that_may_end_with_an_error_is_named_only_if_it_takes_long(
    pause: float, printed_at_last: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terrycloth.experiments.reports.phases, "FIRST_PAUSE", pause)
    phases, _, printed = piped()
    phases.begin("reading", if_long=True)
    timer = phases.line
    assert timer is not None
    if pause == 0.0:
        timer.join()
    phases.end()
    timer.join(timeout=1.0)
    assert printed() == printed_at_last
    phases.begin("measuring")
    assert printed() == ["measuring …"]


def test_a_terminal_shows_the_name_the_count_and_the_time() -> None:
    console = Console(force_terminal=True, width=120, file=io.StringIO())
    phases = Phases(console)
    phases.begin("tuning", 24)
    phases.step(5)
    with console.capture() as drawn:
        console.print(phases.bar)
    assert "tuning" in drawn.get()
    assert "5/24" in drawn.get()
    phases.begin("measuring")
    with console.capture() as drawn:
        console.print(phases.bar)
    assert "tuning" not in drawn.get(), "only one phase is shown at a time"
    assert "measuring" in drawn.get()
    assert "0 s" in drawn.get()


@pytest.mark.parametrize(("pause", "printed"), [(0.0, "loading …\n"), (60.0, "")])
def test_a_short_block_is_silent_in_a_pipe_and_a_long_one_is_not(
    pause: float, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timers = []
    monkeypatch.setattr(terrycloth.experiments.reports.phases, "FIRST_PAUSE", pause)
    timer = terrycloth.experiments.reports.phases.threading.Timer
    monkeypatch.setattr(
        terrycloth.experiments.reports.phases.threading,
        "Timer",
        lambda *arguments: timers.append(timer(*arguments)) or timers[-1],
    )
    with phase("loading"):
        if pause == 0.0:
            timers[0].join()
    assert capsys.readouterr().err == printed
    timers[0].join(timeout=1.0)
    assert not timers[0].is_alive(), "nothing may be printed afterwards"


def test_quiet_prints_nothing_however_long_a_phase_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terrycloth.experiments.reports.phases, "line_after_a_pause", None)
    with phase("loading", quiet=True):
        pass
    assert capsys.readouterr() == ("", "")
