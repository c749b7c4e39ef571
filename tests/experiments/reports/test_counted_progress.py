"""Searches and grids share one count, one estimate of the time left, and one way to print them."""

import pytest

from terrycloth.experiments.reports import counted_progress
from terrycloth.experiments.reports.counted_progress import CountedProgress, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(counted_progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_the_mean_task_time_times_the_tasks_left(clock: list[float]) -> None:
    progress = CountedProgress("jobs")
    progress.begin(4)
    clock[0] += 30.0
    assert (progress.count(), progress.left) == ("90 s", 3)
    clock[0] += 30.0
    assert (progress.count(), progress.left) == ("60 s", 2)


def test_more_tasks_than_expected_leave_no_time(clock: list[float]) -> None:
    progress = CountedProgress("runs")
    progress.begin(1)
    clock[0] += 9.0
    progress.count()
    progress.begin_uncounted()
    assert (progress.count(), progress.left, progress.ended) == ("0 s", 0, 2)


def test_without_a_terminal_each_task_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with CountedProgress("jobs") as progress:
        progress.begin(2)
        progress.count()
        progress.show("1 running")
        progress.count()
        progress.show("0 running", "2 of 2 done: a [cell] :smile:")
    assert capsys.readouterr().out.splitlines() == ["1 running", "2 of 2 done: a [cell] :smile:"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (3600.0, "60 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
