"""Flags override the file, and `--set` overrides both; an error is one line that names the flag."""

import inspect
import math
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.commands.simulate import simulate
from terrycloth.experiments.settings.config import WITHOUT_FLAG, RunConfig, decimal_comma, read_config
from terrycloth.models.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('model = "mf"\ndim = 4\nrounds = 7\nclip = inf\n', encoding="utf-8")
    return path


def error_of(path: Path | None = None, overrides: dict[str, Any] | None = None, *assignments: str) -> str:
    with pytest.raises(UserError) as caught:
        read_config(path, overrides or {}, list(assignments))
    text = str(caught.value)
    assert "\n" not in text, "one line"
    return text


def test_without_settings_all_are_defaults() -> None:
    assert read_config(None, {}, []) == RunConfig()


def test_flags_override_the_file_and_assignments_override_both(file: Path) -> None:
    config = read_config(file, {"dim": 5, "rounds": 8, "seed": None}, ["rounds=9", "nodes = 2"])
    assert (config.model, config.dim, config.rounds, config.nodes) == ("mf", 5, 9, 2)
    assert config.clip == math.inf
    assert config.seed is None


def test_the_last_of_two_assignments_counts() -> None:
    assert read_config(None, {}, ["dim=3", "dim=4"]).dim == 4


def test_a_flag_set_to_zero_or_false_counts_as_set(file: Path) -> None:
    config = read_config(file, {"seed": 0, "strict": False, "noise_multiplier": 0.0}, [])
    assert (config.seed, config.noise_multiplier) == (0, 0.0)


def test_the_config_of_a_run_folder_can_be_read(file: Path) -> None:
    file.write_text('dim = 4\n[versions]\ntorch = "2.13"\n', encoding="utf-8")
    assert read_config(file, {}, []).dim == 4


@pytest.mark.parametrize(
    ("assignment", "name", "value"),
    [
        ("epsilon=0.5", "epsilon", 0.5),
        ("noise-multiplier=2", "noise_multiplier", 2.0),
        ("own_rows=true", "own_rows", True),
        ("model=mf", "model", "mf"),
        ('model="mf"', "model", "mf"),
        ("clip=inf", "clip", math.inf),
        ("seed=null", "seed", None),
        ("category=bed=bath", "category", "bed=bath"),
        ("path=/data/x", "path", Path("/data/x")),
    ],
)
def test_assignments_are_parsed(assignment: str, name: str, value: Any) -> None:
    assert getattr(read_config(None, {"unit": "shopper"}, [assignment]), name) == value


@pytest.mark.parametrize(
    ("assignment", "starts"),
    [
        ("dim=0", "--dim 0: "),
        ("head_size=5001", "--head-size 5001: "),
        ("rounds=1099511627777", "--rounds 1099511627777: "),
        ("steps_per_round=65536", "--steps-per-round 65536: "),
        ("epsilon=-1", "--epsilon -1: "),
        ("epsilon=nan", "--epsilon nan: "),
        ("epsilon=much", "--epsilon much: "),
        ("noise_multiplier=-0.5", "--noise-multiplier -0.5: "),
        ("noise-multiplier=nan", "--noise-multiplier nan: "),
        ("sampling_rate=1.5", "--sampling-rate 1.5: "),
        ("participation=0", "--participation 0: "),
        ("delta=1", "--delta 1: "),
        ("model=svd", "--model svd: "),
        ("unit=household", "--unit household: "),
        ("trust=nobody", "--trust nobody: "),
        ("engine=spark", "--engine spark: "),
        ("seed=-1", "--seed -1: "),
        ("nodes=0", "--nodes 0: "),
    ],
)
def test_a_wrong_value_names_its_flag(assignment: str, starts: str) -> None:
    assert error_of(None, {}, assignment).startswith(starts)


def test_a_wrong_value_in_a_flag_or_the_file_names_the_flag(file: Path) -> None:
    assert error_of(None, {"epsilon": "eight"}).startswith("--epsilon eight: ")
    file.write_text("rounds = 0\n", encoding="utf-8")
    assert error_of(file).startswith("--rounds 0: ")


def test_a_wrong_value_of_two_lines_is_reported_in_one() -> None:
    assert error_of(None, {"epsilon": "a\nb"}).startswith("--epsilon ")


@pytest.mark.parametrize(
    ("name", "nearest"), [("epsilonn", "epsilon"), ("kernel_halflife", "kernel_half_life"), ("zzz", None)]
)
def test_an_unknown_setting_is_named_with_the_nearest(name: str, nearest: str | None) -> None:
    meant = f"did you mean {nearest}? " if nearest else ""
    assert (
        error_of(None, {}, f"{name}=8")
        == f"there is no setting {name!r}: {meant}terry settings lists them all"
    )


def test_an_unknown_setting_of_a_file_is_named(file: Path) -> None:
    file.write_text("epsilonn = 8\n", encoding="utf-8")
    assert "'epsilonn'" in error_of(file)


def test_a_malformed_assignment_says_how_to_write_it(file: Path) -> None:
    assert error_of(None, {}, "dim 4") == "--set dim 4: write key=value"


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [
        ("epsilon=0,5", "--epsilon 0,5: write 0.5, with a decimal point"),
        ("noise_multiplier=-1,25", "--noise-multiplier -1,25: write -1.25, with a decimal point"),
        ("rounds=1,5", "--rounds 1,5: write 1.5, with a decimal point"),
    ],
)
def test_a_decimal_comma_is_answered_with_the_correct_number(assignment: str, hint: str) -> None:
    assert error_of(None, {}, assignment) == hint


def test_other_values_get_no_hint_about_decimal_commas() -> None:
    for text in ("1,2,3", "a,b", "much", "1.5", ",5", ""):
        assert decimal_comma(text) is None


@pytest.mark.parametrize("flag", ["epsilon", "noise_multiplier", "clip"])
def test_a_promise_without_a_unit_lists_the_units(flag: str) -> None:
    shown = "--" + flag.replace("_", "-")
    line = error_of(None, {flag: "8"})
    assert line.startswith(f"{shown} 8 is part of a promise, which needs a unit: add --unit interaction ")
    assert "or --unit shopper" in line
    assert error_of(None, {flag: 8, "unit": "none"}).startswith("--unit none makes no promise: leave out ")


def test_the_config_of_a_run_without_a_promise_can_be_read_again() -> None:
    assert read_config(None, {"clip": math.inf, "noise_multiplier": 0.0}, []).unit == "none"


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    assert "does not exist: check --config" in error_of(tmp_path / "none.toml")
    (tmp_path / "wrong.toml").write_text("dim = = 4")
    assert "cannot be read as TOML" in error_of(tmp_path / "wrong.toml")
    (tmp_path / "latin.toml").write_bytes(b'data = "t\xfcll"')
    assert "cannot be read as TOML" in error_of(tmp_path / "latin.toml")
    assert "cannot be read as TOML" in error_of(tmp_path)


def test_every_setting_is_documented() -> None:
    assert [name for name, field in RunConfig.model_fields.items() if not field.description] == []


def test_settings_without_a_flag_are_listed():
    """A frontier's commands give every setting by its flag, or by --set."""
    flags = inspect.signature(simulate).parameters
    assert {name for name in RunConfig.model_fields if name not in flags} == WITHOUT_FLAG
