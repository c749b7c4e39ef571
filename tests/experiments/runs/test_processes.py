"""Processes that work for this one, each with one thread of its own."""

import os
import time
from pathlib import Path

import numba
import pytest
import torch
from threadpoolctl import threadpool_info

from terrycloth.experiments.runs.processes import THREADS, processes
from terrycloth.models.errors import UserError


@pytest.mark.slow
def test_each_has_one_thread_whatever_is_loaded_here_or_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = {name: os.environ.get(name) for name in THREADS}
    with processes(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(numba.get_num_threads).result() == 1
        libraries = pool.submit(threadpool_info).result()
    assert libraries
    assert {library["num_threads"] for library in libraries} == {1}
    assert {name: os.environ.get(name) for name in THREADS} == before


def test_one_that_is_ended_from_outside_is_told() -> None:
    with pytest.raises(UserError, match="--jobs"), processes(1) as pool:
        pool.submit(os._exit, 1).result()


@pytest.mark.slow
def test_what_is_not_begun_is_dropped_where_the_block_fails(tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(8)]

    def fail_before_the_marks() -> None:
        with processes(1) as pool:
            first = pool.submit(divmod, 1, 0)
            for mark in marks:
                pool.submit(touch_slowly, mark)
            first.result()

    with pytest.raises(ZeroDivisionError):
        fail_before_the_marks()
    assert sum(mark.exists() for mark in marks) < len(marks)


def touch_slowly(mark: Path) -> None:
    time.sleep(0.3)
    mark.touch()


def test_an_error_of_the_work_is_its_own() -> None:
    with pytest.raises(ZeroDivisionError), processes(1) as pool:
        pool.submit(divmod, 1, 0).result()
