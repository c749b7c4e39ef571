"""When, from which source and on what kind of machine a run was made. It names no machine and no user."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).resolve()


def now() -> str:
    """Return the time as in 2026-11-30T21:05:00Z."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


@lru_cache(maxsize=1)
def commit() -> str | None:
    """Return the commit of the checkout that runs, with `-dirty` if files differ from it.

    Returns None for an installed package, and where Git cannot be asked.
    """
    if git("ls-files", "--error-unmatch", SOURCE.name) is None:  # some other project's checkout, or none
        return None
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def git(*arguments: str) -> str | None:
    """Return what a Git command in the folder of this file prints, or None if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=SOURCE.parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine_platform() -> str:
    """Return the operating system and the processor's architecture, as in `Linux x86_64`."""
    return f"{platform.system()} {platform.machine()}"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
