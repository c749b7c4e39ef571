"""What the listing says about a setting is what its field checks."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer.main
from pydantic import BaseModel, Field, ValidationError, create_model

from terrycloth.experiments.cli import app
from terrycloth.experiments.settings.config import FLAGS, SET_BY_THE_RUN, TOPICS, RunConfig
from terrycloth.experiments.settings.declared import allowed, by_topic, settings_of, topic_of, tuned_default


def made(annotation: Any, default: Any = None, **bounds: float) -> type[BaseModel]:
    return create_model("Made", one=(Annotated[annotation, Field(description="what", **bounds)], default))


@pytest.mark.parametrize(
    ("annotation", "bounds", "text"),
    [
        (int, {"ge": 1, "le": 4096}, "whole number from 1 to 4,096"),
        (float | None, {"gt": 0}, "number above 0"),
        (float, {"ge": 0, "lt": 1}, "number at least 0 and below 1"),
        (bool, {}, "true or false"),
        (Path | None, {}, "path"),
        (str | float | None, {}, "text or number"),
        (Literal["a", "b"] | None, {}, "a, b"),
        (tuple[str, ...], {}, "list of text"),
    ],
    ids=str,
)
def test_the_allowed_values_of_a_field(annotation: Any, bounds: dict[str, float], text: str) -> None:
    assert allowed(made(annotation, **bounds).model_fields["one"]) == text


@pytest.mark.parametrize(
    ("default", "text"), [(None, ""), (True, "true"), (0.5, "0.5"), (20_000, "20,000"), ((), ""), ("x", "x")]
)
def test_the_default_of_a_field(default: Any, text: str) -> None:
    (setting,) = settings_of(made(Any, default))
    assert (setting.default, setting.meaning) == (text, "what")


def test_a_default_that_depends_on_other_settings_is_a_range() -> None:
    assert tuned_default("head_scale") == "12"
    assert tuned_default("server_optimizer") == "adam or sgd, by unit and model"
    assert tuned_default("title_words") == "false or true, by unit and model"
    assert tuned_default("learning_rate").startswith("0.002 to 1")
    assert tuned_default("path") == ""


def test_every_setting_that_a_user_sets_is_listed_once() -> None:
    listed = [each.name for settings in by_topic().values() for each in settings]
    assert listed == [name for name in RunConfig.model_fields if name not in SET_BY_THE_RUN]
    assert list(by_topic()) == list(TOPICS.values())
    assert {each.name for settings in by_topic("MOMENTUM").values() for each in settings} == {
        "server_momentum"
    }
    assert by_topic("no such word") == {}


def test_a_flag_is_listed_under_the_topic_of_its_setting() -> None:
    command: Any = typer.main.get_command(app)
    flags = [flag for flag in command.commands["simulate"].params if flag.name in RunConfig.model_fields]
    assert len(flags) > 30
    for flag in flags:
        assert flag.rich_help_panel == topic_of(flag.name), FLAGS.get(flag.name, flag.name)


@pytest.mark.parametrize(
    "name",
    [name for name in RunConfig.model_fields if name.endswith(("_rate", "_decay", "_weight", "_half_life"))],
)
def test_every_rate_and_weight_has_bounds(name: str) -> None:
    with pytest.raises(ValidationError):
        RunConfig.model_validate({name: 1e30})
