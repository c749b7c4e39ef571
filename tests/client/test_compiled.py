"""Where compiled loops are kept: in another folder after every change of what is compiled."""

import os
import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest
from numba.core import config

import client
import client.compiled
from client.compiled import FOLDER, choose_folder, digest_of, kept_in

CLIENT = Path(client.__file__).parent


def test_a_change_of_what_is_compiled_makes_another_folder(tmp_path):
    (tmp_path / "streams.py").write_text("from client.compiled import compiled\n")
    (tmp_path / "farm.py").write_text("nothing is compiled here\n")
    before = digest_of(tmp_path)
    (tmp_path / "farm.py").write_text("nor here\n")
    assert digest_of(tmp_path) == before
    (tmp_path / "streams.py").write_text("from client.compiled import compiled  # faster\n")
    assert digest_of(tmp_path) != before


def test_other_numbers_of_streams_make_another_folder(monkeypatch):
    """They are constants in what is compiled; their file is not compiled itself."""
    before = digest_of(CLIENT)
    monkeypatch.setattr(client.compiled, "Purpose", IntEnum("Purpose", {"LAZY_NOISE": 8}))
    assert digest_of(CLIENT) != before


def test_a_place_of_ones_own_has_a_folder_for_each_change_too(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert choose_folder()
    assert Path(config.CACHE_DIR) == tmp_path / (FOLDER + digest_of(CLIENT))


def test_a_place_of_ones_own_that_cannot_be_written_is_no_place(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "file"))
    assert not choose_folder()


def test_all_that_is_compiled_counts():
    compiling = {path.name for path in CLIENT.glob("*.py") if "@compiled(" in path.read_text()}
    assert {"compiled_streams.py", "sgd_draws.py", "sgd_reads.py", "sgd_kernel.py"} <= compiling
    assert all("client.compiled" in (CLIENT / name).read_text() for name in compiling)
    assert not [
        path for path in CLIENT.glob("*.py") if "njit(" in path.read_text() and path.name != "compiled.py"
    ]


def test_the_first_place_that_can_be_written_is_taken(tmp_path):
    (tmp_path / "file").touch()
    assert kept_in([tmp_path / "file", tmp_path / "cache"], "numba-1") == tmp_path / "cache" / "numba-1"
    assert kept_in([tmp_path / "file"], "numba-1") is None


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["a folder", "a file"])
def test_where_the_sources_cannot_be_written_the_users_cache_is_or_nothing(tmp_path, cache):
    """By a copy of the sources that has a file where its cache would be."""
    for room in ("client", "models"):
        shutil.copytree(CLIENT.parent / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "client" / "__pycache__").touch()
    if cache == "a file":
        (tmp_path / "cache").touch()
    program = (
        "import numpy as np; import client.compiled_streams as c;"
        "words = np.empty((c.WORDS, c.LANES), np.uint32);"
        "c.fill_words(c.key_words(bytes(32)), 0, 0, 0, 0, 0, words); print(words.sum())"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 0
    kept = list((tmp_path / "cache").glob(f"terrycloth/{FOLDER}*/**/*.nbi")) if cache == "a folder" else []
    assert bool(kept) == (cache == "a folder")
