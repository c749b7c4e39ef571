"""Compiled loops are cached in a new folder after every change of their sources."""

import os
import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest
from numba.core import config

import terrycloth.client.training.compiled.compile
from terrycloth.client.training.compiled.compile import FOLDER, choose_folder, digest_of, kept_in

COMPILED = Path(terrycloth.client.training.compiled.compile.__file__).parent
ROOT = COMPILED.parents[2]


def test_a_change_of_compiled_code_changes_the_folder(tmp_path):
    (tmp_path / "streams.py").write_text("from terrycloth.client.training.compiled.compile import compiled\n")
    before = digest_of(tmp_path)
    (tmp_path / "streams.py").write_text(
        "from terrycloth.client.training.compiled.compile import compiled  # faster\n"
    )
    assert digest_of(tmp_path) != before


def test_a_change_of_the_numbers_of_streams_changes_the_folder(monkeypatch):
    """These numbers are constants in the compiled code, though their own file is not compiled."""
    before = digest_of(COMPILED)
    monkeypatch.setattr(
        terrycloth.client.training.compiled.compile, "Purpose", IntEnum("Purpose", {"LAZY_NOISE": 8})
    )
    assert digest_of(COMPILED) != before


def test_a_cache_folder_of_the_user_has_a_subfolder_for_each_version(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert choose_folder() == tmp_path / (FOLDER + digest_of(COMPILED))


def test_a_cache_folder_of_the_user_that_cannot_be_written_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "file"))
    assert choose_folder() is None


def test_the_digest_covers_everything_that_is_compiled():
    compiling = {path.name for path in COMPILED.glob("*.py") if "@compiled(" in path.read_text()}
    assert {"compiled_streams.py", "sgd_draws.py", "sgd_reads.py", "sgd_kernel.py"} <= compiling
    elsewhere = [path for path in (ROOT / "client").rglob("*.py") if path.parent != COMPILED]
    assert not [path for path in elsewhere if "@compiled(" in path.read_text()]
    assert not [
        path
        for path in (ROOT / "client").rglob("*.py")
        if "njit(" in path.read_text() and path.name != "compile.py"
    ]


def test_the_first_writable_folder_is_used(tmp_path):
    (tmp_path / "file").touch()
    assert kept_in([tmp_path / "file", tmp_path / "cache"], "numba-1") == tmp_path / "cache" / "numba-1"
    assert kept_in([tmp_path / "file"], "numba-1") is None


PROGRAM = """
import os
import numpy as np
import terrycloth.client.training.compiled.compiled_streams as streams
words = np.empty((streams.WORDS, streams.LANES), np.uint32)
streams.fill_words(streams.key_words(bytes(32)), 0, 0, 0, 0, 0, words)
(hits,) = streams.fill_words.stats.cache_hits.values() or (0,)
assert streams.__file__.startswith(os.getcwd()), streams.__file__
print(words.sum(), hits)
"""


def copy_sources(folder: Path) -> None:
    """Copy the package as a checkout has it; with an __init__.py Python would import the installed one."""
    for room in ("client", "models"):
        copy = folder / "terrycloth" / room
        shutil.copytree(ROOT / room, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "terrycloth" / "__init__.py").touch()


def drawn_in(folder: Path, cache: Path) -> list[int]:
    """Return what a copy of the sources draws, and whether it found the loop already compiled."""
    if not (folder / "terrycloth").exists():
        copy_sources(folder)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.slow
def test_a_copy_of_the_sources_reuses_the_compiled_loop(tmp_path):
    (first, none), (second, found) = (
        drawn_in(tmp_path / copy, tmp_path / "cache") for copy in ("one", "two")
    )
    assert first == second > 0
    assert (none, found) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["a folder", "a file"])
def test_without_a_writable_user_cache_the_cache_is_beside_the_sources_or_absent(tmp_path, beside):
    (tmp_path / "cache").touch()
    copy_sources(tmp_path)
    compiled = tmp_path / "terrycloth" / "client" / "training" / "compiled"
    if beside == "a file":
        (compiled / "__pycache__").touch()
    assert drawn_in(tmp_path, tmp_path / "cache")[0] > 0
    kept = list(compiled.glob(f"__pycache__/{FOLDER}*/*.nbi"))
    assert bool(kept) == (beside == "a folder")
