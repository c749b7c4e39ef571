"""Flower's flat run config is split by field name into settings of the server and settings of a query."""

from pathlib import Path
from typing import Any

import pytest

from terrycloth.models.settings import RoundSettings
from terrycloth.server.settings import ServerSettings, from_run_config
from tests.models.test_settings import VALID

ASKED = {name: value for name, value in VALID.items() if name != "round"}
OWN: dict[str, Any] = {"catalogue": "/shop/catalogue.parquet"}


def test_the_run_config_is_split_by_name() -> None:
    server, asked = from_run_config({**ASKED, **OWN, "server-learning-rate": 0.5, "timeout": 9.0})
    assert server.catalogue == Path("/shop/catalogue.parquet")
    assert (server.server_learning_rate, server.timeout) == (0.5, 9.0)
    assert asked == RoundSettings.model_validate({**VALID, "round": 1})


def test_dashes_and_underscores_are_equivalent() -> None:
    dashed = {name.replace("_", "-"): value for name, value in {**ASKED, **OWN}.items()}
    assert from_run_config(dashed) == from_run_config({**ASKED, **OWN})


def test_settings_that_are_left_out_have_the_documented_defaults() -> None:
    server, _ = from_run_config({**ASKED, **OWN})
    assert (server.folder, server.resume, server.nodes) == (None, False, 1)
    assert (server.server_optimizer, server.server_momentum, server.server_weight_decay) == ("adam", 0.9, 0.0)


def test_an_empty_text_counts_as_not_set() -> None:
    server, _ = from_run_config({**ASKED, **OWN, "folder": ""})
    assert server.folder is None


def test_an_unknown_key_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"noise_multiplyer"):
        from_run_config({**ASKED, **OWN, "noise-multiplyer": 2.0})


@pytest.mark.parametrize("name", [*ASKED, *OWN])
def test_a_missing_key_is_an_error_that_names_it(name: str) -> None:
    values = {**ASKED, **OWN}
    del values[name]
    with pytest.raises(ValueError, match=name):
        from_run_config(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("devices", 0),
        ("nodes", 0),
        ("timeout", 0.0),
        ("server-optimizer", "adagrad"),
        ("server-learning-rate", 0.0),
        ("server-momentum", 1.0),
        ("server-momentum", -0.1),
        ("server-weight-decay", -0.1),
        ("initial-seed", -1),
        ("participation", 0.0),
        ("epsilon", 0.0),
    ],
)
def test_a_value_out_of_range_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name.replace("-", "_")):
        from_run_config({**ASKED, **OWN, name: value})


def test_no_setting_of_the_server_crosses_to_devices() -> None:
    assert not set(ServerSettings.model_fields) & set(RoundSettings.model_fields)
