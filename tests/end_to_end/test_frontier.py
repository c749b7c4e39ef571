"""`terry frontier` as users run it: in processes, killed and restarted, with its page in a browser."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.browser import DESK, PHONE, chromium, opened, overflowing, violations

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GRID = """
[[grid]]
data = "towels"
devices = [30, 60]
model = "linear"
unit = "shopper"
trust = "central"
epsilon = [1, inf]
ceiling = false
seeds = 2

[[grid]]  # cannot be kept
devices = 30
model = "linear"
unit = "interaction"
trust = "local"
seeds = 1
"""


OWN = """
[[grid]]
data = "own_data:load"
own_baselines = ["own_data:CHEAPEST"]
model = "linear"
unit = "shopper"
trust = "central"
epsilon = 8
central = false
seeds = 1
"""


def terry(folder: Path, *arguments: str, grid: str = GRID) -> "subprocess.Popen[str]":
    """Start `terry frontier` on a grid in a process of its own, where the package of examples/own_data is."""
    (folder / "grid.toml").write_text(grid)
    program = "import sys; sys.argv[0] = 'terry'\nfrom terrycloth.experiments.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "frontier", "grid.toml", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'examples' / 'own_data'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_baseline_of_another_package_is_in_the_table(tmp_path: Path) -> None:
    """Its columns exist only if the table is imported after the run has added the baseline."""
    process = terry(tmp_path, "--out", "own", grid=OWN)
    out, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, ""), out
    table = pd.read_parquet(tmp_path / "own" / "frontier.parquet")
    assert 0.0 <= table["cheapest_hr@10"].item() < table["hr@10"].item()


def children(parent: int) -> list[int]:
    """Return the ids of the running child processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def alive(process: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished frontier made by two processes, which no test may write to."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = terry(folder, "--out", "out", "--jobs", "2")
    out, err = process.communicate(timeout=500)
    assert (process.returncode, err) == (3, ""), "a cell failed"
    assert out.splitlines()[-1] == (folder / "out" / "index.html").as_uri()
    assert "HR@10" in out
    assert "1 failed" in out.split("writing the table, the figures and the page …")[1]
    assert "--model linear cannot be trained under --unit interaction" in out
    assert re.search(r"\d+ of \d+ done, \d running, 1 failed, about .* left: cell towels-", out)
    return folder / "out"


def table(out: Path) -> pd.DataFrame:
    """Return all columns but the times."""
    return pd.read_parquet(out / "frontier.parquet").drop(columns="seconds")


def test_one_failing_cell_does_not_affect_the_others(unbroken: Path) -> None:
    rows = table(unbroken)
    assert rows["status"].value_counts().to_dict() == {"done": 2 * 2 * 2, "failed": 1}
    assert math.isinf(rows["epsilon"].max())


def test_a_killed_frontier_continues_with_the_same_command(unbroken: Path, tmp_path: Path) -> None:
    process = terry(tmp_path, "--out", "out", "--jobs", "2", "--quiet")
    out = tmp_path / "out"
    deadline = time.monotonic() + 300
    while len(list(out.glob("runs/*/result.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = children(process.pid)
    assert len(workers) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a process outlived its parent"
        time.sleep(0.1)
    assert not (out / "frontier.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    assert 2 <= len(before) < 8
    again = terry(tmp_path, "--out", "out", "--jobs", "1", "--quiet")  # this must not change the result
    assert again.communicate(timeout=500) == ("out/index.html\n", "")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(table(out), table(unbroken), check_exact=True)


def test_two_simultaneous_commands_share_the_work(unbroken: Path, tmp_path: Path) -> None:
    both = [terry(tmp_path, "--out", "out", "--jobs", "2", "--quiet") for _ in range(2)]
    assert [process.communicate(timeout=500) for process in both] == [("out/index.html\n", "")] * 2
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(unbroken), check_exact=True)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_in_a_browser_is_complete_and_accessible(width: int, unbroken: Path) -> None:
    """Every chart is drawn, nothing overflows, and axe-core finds nothing."""
    with chromium() as browser, opened(browser, unbroken / "index.html", width) as page:
        charts = page.locator("figure svg:visible")
        assert charts.count() == 5
        assert min(chart.bounding_box()["height"] for chart in charts.all()) > 200
        assert page.locator(".answer").inner_text().split(":")[0] in (
            "Yes",
            "Yes, at a price",
            "No",
            "Not clearly",
        )
        assert violations(page) == []
        assert overflowing(page) == []
    assert (unbroken / "index.html").stat().st_size < 2**21
