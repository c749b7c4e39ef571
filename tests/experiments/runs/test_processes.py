"""Worker processes, each with a single thread."""

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
def test_each_worker_has_one_thread_whatever_is_loaded_or_set_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = {name: os.environ.get(name) for name in THREADS}
    with processes(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(numba.get_num_threads).result() == 1
        libraries = pool.submit(threadpool_info).result()
    assert libraries
    assert {library["num_threads"] for library in libraries} == {1}
    assert {name: os.environ.get(name) for name in THREADS} == before


def test_a_worker_that_is_killed_is_reported() -> None:
    with pytest.raises(UserError, match="--jobs"), processes(1) as pool:
        pool.submit(os._exit, 1).result()


@pytest.mark.slow
def test_waiting_work_is_dropped_if_the_block_fails(tmp_path: Path) -> None:
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


def test_an_error_in_the_work_is_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), processes(1) as pool:
        pool.submit(divmod, 1, 0).result()
