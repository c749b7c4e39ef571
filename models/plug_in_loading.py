"""Objects of other packages, by `package.module:name` or by the entry points that packages install."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any


def load_object(path: str) -> Any:
    """Import `package.module:name`. Raises ValueError in one line if there is no such object."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ValueError(f"{path!r} is not of the form package.module:name")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be imported: {error}") from None


def entry_point_names(group: str) -> list[str]:
    """The names that installed packages offer in a group; nothing of theirs is imported."""
    return sorted({point.name for point in entry_points(group=group)})


def load_entry_point(group: str, name: str) -> Any:
    """Import the object that a package offers under a name.

    Raises ValueError if no package does, or if two packages offer different objects under this name.
    """
    offered = {point.value: point for point in entry_points(group=group, name=name)}
    if not offered:
        raise ValueError(f"no installed package offers {name!r} in {group}")
    if len(offered) > 1:
        raise ValueError(
            f"installed packages offer {' and '.join(sorted(offered))} under one name, {name!r}, in {group}: "
            "uninstall all but one of them"
        )
    (point,) = offered.values()
    return point.load()
