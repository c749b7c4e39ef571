"""Models of other packages have a short name and are loaded only where a policy lists that name."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from terrycloth.client.policy import Policy
from terrycloth.models import plug_in_loading
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


def test_two_classes_cannot_share_a_short_name():
    """A device would otherwise train the one that was registered last, in the name of the other."""
    plug_ins.register(PATH)
    other = type("Gated", (Gated,), {"__module__": "another.package"})
    with pytest.raises(ValueError, match=f"the name 'gated' belongs to {PATH}"):
        plug_ins.add("gated", other)
    assert plug_ins.load("gated") is Gated
    again = type("Gated", (Gated,), {"__module__": Gated.__module__})
    plug_ins.add("gated", again)
    assert plug_ins.load("gated") is again, "a notebook imports a class that was edited"
    plug_ins.add("gated", Gated)


def test_a_short_name_cannot_hide_an_installed_model(monkeypatch):
    monkeypatch.setattr(plug_ins, "offered", lambda: ["offered-model"])
    monkeypatch.setattr(plug_ins, "load_entry_point", lambda group, name: Gated)
    with pytest.raises(ValueError, match="'offered-model' belongs to"):
        plug_ins.add("offered-model", type("OfferedModel", (Gated,), {}))
    plug_ins._registered.pop("offered-model")


def test_two_packages_that_offer_one_name_are_both_named(monkeypatch):
    points = EntryPoints(
        EntryPoint("gated", value, "terrycloth.models") for value in ("one:Gated", "two:Gated")
    )
    monkeypatch.setattr(plug_in_loading, "entry_points", points.select)
    with pytest.raises(
        ValueError, match=r"one:Gated and two:Gated under one name, 'gated', in terrycloth\.models"
    ):
        plug_in_loading.load_entry_point("terrycloth.models", "gated")


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
