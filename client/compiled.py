"""Compiled loops, kept on disk between processes.

numba looks whether a function's own file has changed, and not those that the function calls are in, which
are compiled into it. So the folder they are kept in is named by all that is compiled here: a change makes
another. It is beside this file or, where nobody may write there, in the user's own cache; or in the place
that NUMBA_CACHE_DIR names. Where none can be written, each process compiles anew.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy.typing as npt
from numba.core import config

from models.randomness import Purpose

Array = npt.NDArray[Any]

FOLDER = "numba-"


def digest_of(folder: Path) -> str:
    """Of the sources in a folder that hold compiled loops, of the streams' numbers in them, and of numba."""
    sources = (path.read_bytes() for path in sorted(folder.glob("*.py")))
    whole = b"".join(source for source in sources if b"client.compiled" in source)
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


def choose_folder() -> bool:
    """Tell numba where to keep what it compiles; gives whether there is a place."""
    here = Path(__file__).parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    named = config.CACHE_DIR  # type: ignore[attr-defined]
    places = [Path(named)] if named else [here / "__pycache__", cache / "terrycloth"]
    folder = kept_in(places, FOLDER + digest_of(here))
    if folder is not None:
        config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return folder is not None


KEPT = choose_folder()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, kept on disk."""
    decorator: Callable[[Callable[..., Any]], Any] = numba.njit(cache=KEPT, **options)
    return decorator
