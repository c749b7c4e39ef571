"""Write files in one step, so that a file is either complete or as it was before."""

from contextlib import suppress
from pathlib import Path

from terrycloth.models.errors import UserError

RUN_AGAIN = "fix this and run again"  # for commands that continue when they are repeated


def write_whole(path: Path, content: str | bytes, remedy: str | None = None) -> None:
    """Write to a temporary file, and rename it to `path` once it is complete. Text is encoded as UTF-8.

    remedy: what the user can do if the file cannot be written. Raises UserError with this remedy if it is
    given, else OSError.
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
