"""What each setting may be, its default and its meaning, as its field declares them.

`terry settings` and the documentation print these.
"""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from terrycloth.experiments.settings.config import SET_BY_THE_RUN, TOPICS, RunConfig

DEFAULTS = Path(__file__).with_name("defaults")
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))


@dataclass(frozen=True)
class Setting:
    """One setting, in words. allowed: its type and bounds. default: empty if there is none."""

    name: str
    allowed: str
    default: str
    meaning: str


def settings_of(model: type[BaseModel]) -> list[Setting]:
    """Return the settings of a class, in the order in which it declares them."""
    return [
        Setting(name, allowed(field), default_of(field), field.description or "")
        for name, field in model.model_fields.items()
    ]


def by_topic(word: str = "") -> dict[str, list[Setting]]:
    """Return the settings of a run by topic, or those of them whose name or meaning holds `word`.

    A default that depends on the unit, the model or the data set is given by its range.
    """
    found: dict[str, list[Setting]] = {}
    for each in settings_of(RunConfig):
        if each.name in SET_BY_THE_RUN or word.lower() not in f"{each.name} {each.meaning}".lower():
            continue
        default = each.default or tuned_default(each.name)
        setting = Setting(each.name, each.allowed, default, each.meaning)
        found.setdefault(topic_of(each.name), []).append(setting)
    return found


def topic_of(name: str) -> str:
    """Return the topic of a setting: that of the last setting at or before it that begins a topic."""
    names = list(RunConfig.model_fields)
    return next(TOPICS[each] for each in reversed(names[: names.index(name) + 1]) if each in TOPICS)


def tuned_default(name: str) -> str:
    """Return the range of a default in defaults/, by unit, model and data set; empty if it has none."""
    tables = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(DEFAULTS.glob("*.toml"))]
    values = {table[name] for file in tables for table in file.values() if name in table}
    if len(values) < 2:
        return "".join(map(in_words, values))
    if all(type(value) in (int, float) for value in values):
        return f"{in_words(min(values))} to {in_words(max(values))}, by unit and model"
    return " or ".join(sorted(map(in_words, values))) + ", by unit and model"


def default_of(field: FieldInfo) -> str:
    """Return a default as it is written in a file of settings; empty if there is none."""
    if field.is_required():
        return "required"
    return "" if field.default in (None, "", ()) else in_words(field.default)


def in_words(value: Any) -> str:
    """Return a value as it is written with --set."""
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, int | float) else str(value)


def number(value: float) -> str:
    """Return a number in digits, with marks at the thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 and value == int(value) else f"{value:g}"


def allowed(field: FieldInfo) -> str:
    """Return the values that a setting may have: its choices, or its type and its bounds."""
    bounds = {
        key: getattr(each, key)
        for each in field.metadata
        for kind, key, _ in BOUNDS
        if isinstance(each, kind)
    }
    return " ".join([type_in_words(field.annotation), *range_in_words(bounds)])


def range_in_words(bounds: dict[str, Any]) -> list[str]:
    """Return bounds as words; `from 1 to 10` if both ends are allowed."""
    if {"ge", "le"} <= bounds.keys():
        return [f"from {number(bounds['ge'])} to {number(bounds['le'])}"]
    said = [
        f"{words} {number(bounds[key])}"
        for _, key, words in BOUNDS
        if math.isfinite(bounds.get(key, math.inf))
    ]
    return [" and ".join(said)] if said else []


def type_in_words(annotation: Any) -> str:
    """Return a type in words; None, which means that a value is not given, is left out."""
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"list of {type_in_words(get_args(annotation)[0])}"
    if parts := [part for part in get_args(annotation) if part not in (NoneType, Ellipsis)]:
        return " or ".join(
            dict.fromkeys(type_in_words(part) for part in parts if isinstance(part, type) or get_origin(part))
        )
    return WORDS.get(annotation, str(getattr(annotation, "__name__", annotation)))
