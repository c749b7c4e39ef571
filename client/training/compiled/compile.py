"""Compiled loops, kept on disk between processes, and shared by every copy of the same sources.

numba looks whether a function's own file has changed, and not those that the function calls are in, which
are compiled into it. So the folder they are kept in is named by all that is compiled here: a change makes
another, and a copy (another checkout) finds what was compiled before. It is in the user's own cache or, where
nobody may write there, beside this file; or in the place that NUMBA_CACHE_DIR names. Where none can be
written, each process compiles anew.
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
    """Of the sources in a folder, of the streams' numbers in them, and of numba."""
    whole = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    # A loop kept under an older number could draw from the stream of another purpose.
    constants = f"{numba.__version__} {[*Purpose]}"
    return hashlib.sha256(constants.encode() + whole).hexdigest()[:16]


def kept_in(places: list[Path], name: str) -> Path | None:
    """A folder of that name in the first place where one can be written."""
    for place in places:
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            return place / name
    return None


def choose_folder() -> Path | None:
    """Where to keep what is compiled; None: there is no place."""
    here = Path(__file__).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = config.CACHE_DIR  # type: ignore[attr-defined]
    places = [Path(named)] if named else [cache / "terrycloth", here / "__pycache__"]
    return kept_in(places, FOLDER + digest_of(here))


KEPT = choose_folder()


class KeptByContent(UserProvidedCacheLocator):
    """Tells numba to keep a function under the name of its file, wherever that file lies."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """An empty one: the folder itself is named by what is in the files."""
        return ""


@contextmanager
def keeping() -> Iterator[None]:
    """Have numba keep in KEPT what is decorated in the block; for other code its settings stay."""
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
    """`numba.njit`, kept on disk."""

    def compile_later(function: Callable[..., Any]) -> Any:
        if KEPT is None:
            return numba.njit(**options)(function)
        with keeping():
            return numba.njit(cache=True, **options)(function)

    return compile_later
