"""A setting has one description and one range, in whichever class, flag or file it occurs."""

import subprocess
import sys
import tomllib
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import typer.main
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from terrycloth.experiments.cli import app
from terrycloth.experiments.settings.config import FLAGS, RunConfig
from terrycloth.experiments.settings.planning import ResolvedConfig, resolve
from terrycloth.models.settings import RoundSettings
from terrycloth.server.settings import ServerSettings

CLASSES: tuple[type[BaseModel], ...] = (RunConfig, ResolvedConfig, RoundSettings, ServerSettings)
NOT_CARRIED = {"protocol", "run", "round"}  # the server sets these itself

# Values that only a query without a promise has; a user chooses --unit none instead.
WITHOUT_A_PROMISE: dict[str, Any] = {"trust": "none", "delta": 0, "evaluation_noise": 0}
# One name for two settings: the user's choice of who evaluates, and whether a run ends with a release.
DIFFERENT = {"evaluate"}
VERBS_WITH_SETTINGS = ("simulate", "tune", "frontier", "privacy plan", "data inspect", "data partition")


def shared_names() -> list[str]:
    return sorted(
        {name for one in CLASSES for name in one.model_fields if len(declared(name)) > 1} - DIFFERENT
    )


def declared(name: str) -> dict[str, FieldInfo]:
    return {one.__name__: one.model_fields[name] for one in CLASSES if name in one.model_fields}


def bounds(name: str, field: FieldInfo) -> dict[str, Any]:
    """Return the bounds; one lowered only for queries without a promise counts as the user's bound."""
    found = {}
    for each in field.metadata:
        for kind, key in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
            if isinstance(each, kind):
                found[key] = getattr(each, key)
    if "ge" in found and found["ge"] == WITHOUT_A_PROMISE.get(name):
        found["gt"] = found.pop("ge")
    return found


def choices(name: str, annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return set(get_args(annotation)) - {WITHOUT_A_PROMISE.get(name)}
    return {choice for part in get_args(annotation) for choice in choices(name, part)}


def plain_type(annotation: Any) -> Any:
    """Return the type without None; a choice has the type of its first value."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = {part for part in get_args(annotation) if part is not NoneType}
    return type(get_args(annotation)[0]) if get_origin(annotation) is Literal else annotation


@pytest.mark.parametrize("name", shared_names())
def test_the_same_name_has_the_same_bounds_choices_and_description(name: str) -> None:
    fields = declared(name)
    first = next(iter(fields.values()))
    for where, field in fields.items():
        assert bounds(name, field) == bounds(name, first), where
        assert choices(name, field.annotation) == choices(name, first.annotation), where
        if field.description and first.description:
            assert field.description == first.description, where


def test_the_comparison_detects_every_kind_of_difference() -> None:
    assert {"dim", "clip", "trust", "server_optimizer", "head_size", "evaluate_every"} <= set(shared_names())
    assert bounds("dim", RunConfig.model_fields["dim"]) == {"ge": 1, "le": 4096}
    assert bounds("delta", RoundSettings.model_fields["delta"]) == {"gt": 0, "lt": 1}
    assert bounds("noise_multiplier", RoundSettings.model_fields["noise_multiplier"]) == {"ge": 0}
    assert choices("x", Literal["adam", "sgd"] | None) == {"adam", "sgd"}


@pytest.mark.parametrize("verb", VERBS_WITH_SETTINGS)
def test_the_help_of_a_flag_is_the_description_of_its_setting(verb: str) -> None:
    command: Any = typer.main.get_command(app)
    for part in verb.split():
        command = command.commands[part]
    flags = [each for each in command.params if each.param_type_name == "option"]
    compared = 0
    for flag in flags:
        name = "split" if flag.name == "split_by" else flag.name
        if name in RunConfig.model_fields:
            description = RunConfig.model_fields[name].description
            several = "; inf: no promise" * (name == "epsilon") + "; comma-separated"
            assert flag.help in (
                {description, description + several} if verb == "frontier" else {description}
            )
            assert FLAGS.get(name, "--" + name.replace("_", "-")) in flag.opts
            compared += 1
    assert compared > 5


def table() -> dict[str, Any]:
    """Return the settings of the Flower app in pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    config: dict[str, Any] = project["tool"]["flwr"]["app"]["config"]
    return {name.replace("-", "_"): value for name, value in config.items()}


def test_every_setting_that_flower_carries_is_in_its_table_with_the_right_type() -> None:
    fields = RoundSettings.model_fields | ServerSettings.model_fields
    assert table().keys() == fields.keys() - NOT_CARRIED
    for name, value in table().items():
        if value == "":  # TOML has no null, so an empty text means not set
            assert NoneType in get_args(fields[name].annotation) or name == "catalogue", name
        else:
            assert type(value) is plain_type(fields[name].annotation), name


def optional_names() -> set[str]:
    return {name for name, field in RunConfig.model_fields.items() if field.default is None}


def test_a_resolved_configuration_requires_exactly_the_settings_that_are_always_filled() -> None:
    declared_again = set(ResolvedConfig.__annotations__)
    resolved = [
        resolve(RunConfig(unit=unit), 300).model_dump() for unit in ("none", "interaction", "shopper")
    ]
    always = {name for name in optional_names() if all(each[name] is not None for each in resolved)}
    assert declared_again == always
    for name in declared_again:
        assert ResolvedConfig.model_fields[name].is_required(), name
        assert NoneType not in get_args(ResolvedConfig.model_fields[name].annotation), name


def test_the_settings_of_the_command_line_import_no_heavy_library() -> None:
    script = (
        "import sys, terrycloth.experiments.settings.config\n"
        "print(sorted({'torch', 'flwr', 'opacus', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
