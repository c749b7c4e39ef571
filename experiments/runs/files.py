"""Files that are written in one step: whole, or what was there before."""

from contextlib import suppress
from pathlib import Path

from terrycloth.models.errors import UserError

RUN_AGAIN = "mend that and run again"  # where the same command goes on


def write_whole(path: Path, content: str | bytes, remedy: str | None = None) -> None:
    """Put a file in its place when all of it is on the disk; text is UTF-8. Raises OSError.

    remedy: what a user can do where it cannot be written, who is told so: raises UserError instead.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        if remedy is None:
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}): {remedy}") from None
