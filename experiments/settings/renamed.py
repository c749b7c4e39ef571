"""Names that changed in this version. Old names work until the next version, and print a warning."""

import sys
from collections.abc import Mapping
from typing import Any

SETTINGS = {"masks": "secure_aggregation", "head": "head_size", "protocol": "negative_sampling"}
VALUES = {"trainer": {"cohort": "fast", "opacus": "reference"}}
FLAGS = {
    "--masks": "--secure-aggregation",
    "--no-masks": "--no-secure-aggregation",
    "--protocol": "--negative-sampling",
}
VERBS = {("data", "split"): ("data", "partition")}


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under their present names; prints a warning for each old name."""
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        new_name = SETTINGS.get(name, name)
        new_value = VALUES.get(new_name, {}).get(value, value) if isinstance(value, str) else value
        if new_name != name:
            warn(name, new_name)
        if new_value != value:
            warn(f"{new_name} = {value}", f"{new_name} = {new_value}")
        renamed[new_name] = new_value
    return renamed


def with_new_flags(arguments: list[str]) -> list[str]:
    """The command line under present names; prints a warning for each old flag and verb."""
    for old, new in VERBS.items():
        if tuple(arguments[: len(old)]) == old:
            warn(f"terry {' '.join(old)}", f"terry {' '.join(new)}")
            arguments = [*new, *arguments[len(old) :]]
    renamed = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in FLAGS:
            warn(flag, FLAGS[flag])
            flag = FLAGS[flag]
        renamed.append(flag + equals + value)
    return renamed


def warn(old: str, new: str) -> None:
    """Print one line on standard error."""
    print(f"terry: {old} is now {new}; the old name will be removed in the next version", file=sys.stderr)
