"""Models of other packages have a short name and are loaded only where a policy lists that name."""

import pytest

from terrycloth.client.policy import Policy
from terrycloth.models.recommenders import plug_ins
from terrycloth.models.recommenders.kinds import KINDS, Solver, kind_of
from tests.models.recommenders.own_models import Gated

PATH = "tests.models.recommenders.own_models:Gated"


def test_a_path_is_registered_under_a_short_name():
    assert plug_ins.register(PATH) == plug_ins.wire_name(PATH) == "gated"
    assert plug_ins.load("gated") is Gated
    assert "gated" in plug_ins.names()
    assert plug_ins.wire_name("mf") == "mf"


@pytest.mark.parametrize(
    ("name", "short"), [("Gated", "gated"), ("TwoTower", "two-tower"), ("My_Model", "my--model")]
)
def test_short_names(name, short):
    assert plug_ins.short_name(name) == short


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Gated", "not of the form"),
        (":Gated", "not of the form"),
        ("no_such_package:Gated", "cannot be imported"),
        ("tests.models.recommenders.own_models:Absent", "cannot be imported"),
        ("tests.models.recommenders.own_models:NOT_A_MODEL", "not a subclass of"),
        ("tests.models.recommenders.own_models:Linear", "belongs to a model of this project"),
    ],
)
def test_a_path_to_no_model_is_refused_in_one_line(path, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        plug_ins.register(path)
    assert "\n" not in str(refused.value)


def test_a_short_name_of_no_installed_model_is_refused():
    with pytest.raises(ValueError, match="there is no model 'two-tower-9'"):
        plug_ins.load("two-tower-9")


def test_a_device_loads_a_plug_in_only_if_its_policy_lists_it():
    plug_ins.register(PATH)
    assert not Policy().allows_model("gated")
    assert not Policy(models=("mf",)).allows_model("gated")
    assert Policy(models=("gated",)).allows_model("gated")
    assert not Policy(models=("absent-model",)).allows_model("absent-model"), "it is not installed"
    assert all(Policy().allows_model(name) for name in KINDS)


def test_a_plug_in_is_trained_by_gradients():
    assert kind_of("gated").solver is Solver.GRADIENT
    assert kind_of("gated").units == ("none", "interaction", "shopper")
