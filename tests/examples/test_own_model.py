"""The model of the example package examples/own_model meets the contract, under the name it is offered by."""

import sys
import tomllib
from pathlib import Path

import pytest

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders import plug_ins
from terrycloth.models.recommenders.kinds import ENTRY_POINTS
from terrycloth.models.recommenders.recommender import Recommender
from tests.models.recommenders.model_contract import ModelContract

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "own_model"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])


def offered() -> str:
    """Return the path of the class, as the package's entry point names it."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    return project["entry-points"][ENTRY_POINTS]["two-tastes"]


class TestTwoTastes(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return plug_ins.construct(plug_ins.imported(offered()), catalogue, 4)


def test_the_model_is_registered_under_the_name_of_its_entry_point() -> None:
    assert plug_ins.register(offered()) == "two-tastes"


def test_an_odd_number_of_dimensions_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(ValueError, match="choose an even number"):
        plug_ins.construct(plug_ins.imported(offered()), catalogue, 3)
