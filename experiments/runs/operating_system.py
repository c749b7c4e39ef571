"""What each operating system tells in its own way: peak memory, the processor, other processes."""

import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")  # of Linux; macOS has none


def peak_memory(*, of_children: bool = False) -> int:
    """Return the peak resident memory in bytes of this process, or of its largest child that has ended."""
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts in bytes, Linux in KiB


def processor() -> str:
    """Return the processor's name as reported by the system."""
    info = PROC / "cpuinfo"
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def shows_environments() -> bool:
    """Whether this system shows the environment of processes, as Linux does."""
    return (PROC / "self" / "environ").exists()


def processes_with(variable: str, value: str) -> list[int]:
    """Return the ids of processes in whose environment a variable has this value.

    It returns none where the system does not show environments.
    """
    assignment = f"{variable}={value}".encode()
    pids = []
    for environ in PROC.glob("[0-9]*/environ"):
        with suppress(OSError):
            if assignment in environ.read_bytes().split(b"\0"):
                pids.append(int(environ.parent.name))
    return pids
