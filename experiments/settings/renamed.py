"""Names that changed in this version. Old ones work until the next version, with a line that says so."""

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
    """Settings under their present names; warns of each that was given under an old one."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        new_name = SETTINGS.get(name, name)
        new_value = VALUES.get(new_name, {}).get(value, value) if isinstance(value, str) else value
        if new_name != name:
            warn(name, new_name)
        if new_value != value:
            warn(f"{new_name} = {value}", f"{new_name} = {new_value}")
        found[new_name] = new_value
    return found


def with_new_flags(arguments: list[str]) -> list[str]:
    """A command line under present names; warns of each flag or verb that was given under an old one."""
    for old, new in VERBS.items():
        if tuple(arguments[: len(old)]) == old:
            warn(f"terry {' '.join(old)}", f"terry {' '.join(new)}")
            arguments = [*new, *arguments[len(old) :]]
    found = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in FLAGS:
            warn(flag, FLAGS[flag])
            flag = FLAGS[flag]
        found.append(flag + equals + value)
    return found


def warn(old: str, new: str) -> None:
    """One line on standard error."""
    print(f"terry: {old} is now {new}; the old name will be removed in the next version", file=sys.stderr)
