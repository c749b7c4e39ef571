"""`terry frontier` as a person runs it: processes of its own, a kill in the middle, its page in a browser."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

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
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def terry(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """`terry frontier` on the grid, as a process of its own."""
    (folder / "grid.toml").write_text(GRID)
    program = "import sys; sys.argv[0] = 'terry'\nfrom terrycloth.experiments.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "frontier", "grid.toml", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(parent: int) -> list[int]:
    """Its processes that live, by their ids."""
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
    """Whether a process runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished frontier of two processes. Not to be written to."""
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
    """Everything but how long it took."""
    return pd.read_parquet(out / "frontier.parquet").drop(columns="seconds")


def test_one_cell_fails_and_the_rest_is_there(unbroken: Path) -> None:
    rows = table(unbroken)
    assert rows["status"].value_counts().to_dict() == {"done": 2 * 2 * 2, "failed": 1}
    assert math.isinf(rows["epsilon"].max())


def test_a_kill_in_the_middle_and_the_same_command_again(unbroken: Path, tmp_path: Path) -> None:
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
    again = terry(tmp_path, "--out", "out", "--jobs", "1", "--quiet")  # which must not show
    assert again.communicate(timeout=500) == ("out/index.html\n", "")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(table(out), table(unbroken), check_exact=True)


def test_two_at_once_share_the_work(unbroken: Path, tmp_path: Path) -> None:
    both = [terry(tmp_path, "--out", "out", "--jobs", "2", "--quiet") for _ in range(2)]
    assert [process.communicate(timeout=500) for process in both] == [("out/index.html\n", "")] * 2
    pd.testing.assert_frame_equal(table(tmp_path / "out"), table(unbroken), check_exact=True)


PROBE = """<script>
addEventListener("load", () => {
  const button = [...document.querySelectorAll("th button")].find(one => one.textContent === "HR@10");
  const order = () => button.closest("th").getAttribute("aria-sort");
  const rows = () => [...button.closest("table").tBodies[0].rows];
  const column = () => rows().map(row => row.cells[button.closest("th").cellIndex].dataset.value);
  const said = {
    width: innerWidth, scrolls: document.documentElement.scrollWidth,
    figures: [...document.querySelectorAll("figure svg")].map(svg => svg.getBoundingClientRect().height),
  };
  button.click(); said.rising = column(); said.up = order();
  button.click(); said.falling = column(); said.down = order();
  said.status = document.getElementById("sorted").textContent;
  parent.postMessage(JSON.stringify(said), "*");
});
</script></body>"""
FRAME = """<!doctype html><pre id="said"></pre>
<iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
addEventListener("message", event => document.getElementById("said").textContent = event.data);
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_in_a_browser(width: int, unbroken: Path, tmp_path: Path) -> None:
    """No error, no sideways scrolling, every figure drawn, and a table that sorts."""
    text = (unbroken / "index.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("</body>", PROBE), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
    ended = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--no-first-run", "--window-size=1400,1000",
            *(f"--disable-{what}" for what in quiet), f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in ended.stderr
    found = re.search(r'<pre id="said">(.+?)</pre>', ended.stdout)
    assert found, ended.stdout
    said = json.loads(found[1])
    assert said["width"] == width
    assert said["scrolls"] <= width
    assert len(said["figures"]) == 5
    assert min(said["figures"]) > 200
    rising = [float(value) for value in said["rising"]]
    assert rising == sorted(rising)
    assert len(set(rising)) > 1
    assert [float(value) for value in said["falling"]] == sorted(rising, reverse=True)
    assert (said["up"], said["down"]) == ("ascending", "descending")
    assert said["status"] == "Sorted by HR@10, descending."
