"""Differences between operating systems are in one small module each, which works on each of them."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import terrycloth
from terrycloth.experiments.runs import flower_run, operating_system
from terrycloth.experiments.runs.operating_system import peak_memory, processes_with, shows_environments

ROOT = Path(__file__).parents[3]
ONLY_IN = {
    "import fcntl": {"models/file_lock.py"},
    "import resource": {"experiments/runs/operating_system.py"},
    '"/proc': {"experiments/runs/operating_system.py"},
}


@pytest.mark.parametrize("text", ONLY_IN)
def test_each_system_specific_library_is_used_in_one_module(text: str) -> None:
    sources = [
        path
        for folder in ("models", "client", "server", "experiments")
        for path in (ROOT / folder).rglob("*.py")
    ]
    using = {str(path.relative_to(ROOT)) for path in sources if text in path.read_text(encoding="utf-8")}
    assert using == ONLY_IN[text]


@pytest.mark.parametrize(("system", "peak"), [("linux", 3 * 1024), ("darwin", 3)])
def test_peak_memory_is_in_bytes_on_every_system(
    system: str, peak: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def getrusage(who: int) -> SimpleNamespace:
        asked.append(who)
        return SimpleNamespace(ru_maxrss=3)

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(operating_system.resource, "getrusage", getrusage)
    assert (peak_memory(), peak_memory(of_children=True)) == (peak, peak)
    assert asked == [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN]


@pytest.mark.skipif(not shows_environments(), reason="reads /proc")
def test_a_process_is_found_by_its_environment() -> None:
    script = "import sys; print(flush=True); sys.stdin.read()"
    value = f"of-{os.getpid()}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], env={"TERRY_TEST": value}, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processes_with("TERRY_TEST", value) == [process.pid]
        assert processes_with("TERRY_TEST", value[:-1]) == []
        process.communicate()
    assert processes_with("TERRY_TEST", value) == []


def test_one_line_says_what_is_not_stopped_if_environments_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operating_system, "PROC", tmp_path / "none")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        flower_run.stop(process, tmp_path)
    assert process.returncode is not None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "needs Linux" in lines[0]


def test_windows_users_read_in_one_line_what_is_missing_and_what_to_use() -> None:
    script = (
        "import sys; sys.platform = 'win32'\n"
        "try:\n    import terrycloth\n"
        "except ImportError as error:\n    print(error)"
    )
    package = str(Path(terrycloth.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "terrycloth needs the modules fcntl and resource, which Windows lacks: use it in WSL\n"
    )
