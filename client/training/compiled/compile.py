"""Compiled loops, cached on disk between processes and shared by all copies of the same sources.

numba checks whether a function's own file has changed, but not the files of the functions that it calls and
that are compiled into it. So the name of the cache folder is a digest of all sources here. A change leads to
a new folder, and another checkout with the same sources finds the loops compiled before. The folder is in the
user's cache or, if that is not writable, next to this file; NUMBA_CACHE_DIR overrides both. If no place is
writable, each process compiles the loops again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy.typing as npt
from numba.core import config
from numba.core.caching import UserProvidedCacheLocator

from terrycloth.models.privacy.randomness import Purpose

Array = npt.NDArray[Any]

FOLDER = "numba-"


def digest_of(folder: Path) -> str:
    """Digest of the sources in a folder, of the streams' Purpose numbers, and of numba's version."""
    whole = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    # A loop compiled with older Purpose numbers could draw from the stream of another purpose.
    constants = f"{numba.__version__} {[*Purpose]}"
    return hashlib.sha256(constants.encode() + whole).hexdigest()[:16]


def kept_in(places: list[Path], name: str) -> Path | None:
    """Make the folder `name` in the first writable place; return None if no place is writable."""
    for place in places:
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            return place / name
    return None


def choose_folder() -> Path | None:
    """Return the folder for compiled loops, or None if no place is writable."""
    here = Path(__file__).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = config.CACHE_DIR  # type: ignore[attr-defined]
    places = [Path(named)] if named else [cache / "terrycloth", here / "__pycache__"]
    return kept_in(places, FOLDER + digest_of(here))


KEPT = choose_folder()


class KeptByContent(UserProvidedCacheLocator):
    """Tells numba to cache a function under its file's name, independent of the file's path."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """Return an empty path: the name of the folder already stands for the contents of the files."""
        return ""


@contextmanager
def keeping() -> Iterator[None]:
    """Let numba cache in KEPT what the block decorates; its settings for other code stay unchanged."""
    own = {"CACHE_DIR": str(KEPT), "CACHE_LOCATOR_CLASSES": f"{__name__}.{KeptByContent.__name__}"}
    before = {name: getattr(config, name) for name in own}
    vars(config).update(own)
    try:
        yield
    finally:
        vars(config).update(before)


def nothing_compiled() -> bool:
    """Whether the next use of a loop compiles it, which takes up to a minute: no loop is kept on disk."""
    return KEPT is None or next(KEPT.glob("*.nbi"), None) is None


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile with `numba.njit`, and cache the result on disk."""

    def compile_later(function: Callable[..., Any]) -> Any:
        if KEPT is None:
            return numba.njit(**options)(function)
        with keeping():
            return numba.njit(cache=True, **options)(function)

    return compile_later
