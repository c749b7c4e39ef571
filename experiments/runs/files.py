"""Write files in one step, with an error for the user if that fails."""

from pathlib import Path

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError

RUN_AGAIN = "fix this and run again"  # for commands that continue when they are repeated


def write_whole(path: Path, content: str | bytes, remedy: str | None = None) -> None:
    """Write a file as `write_private` does. Text is encoded as UTF-8.

    remedy: what the user can do if the file cannot be written. Raises UserError with this remedy if it is
    given, else OSError.
    """
    try:
        write_private(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        if remedy is None:
            raise
        raise UserError(f"{path} cannot be written ({error.strerror}): {remedy}") from None
