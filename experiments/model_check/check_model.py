"""Check a model's class on a small made-up catalogue, one check after the other.

Nothing is trained on data, and the class is not registered: it may have any name.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pandas as pd

from terrycloth.experiments.model_check import contract
from terrycloth.experiments.model_check.contract import Broken, Make, one_line, require
from terrycloth.experiments.model_check.training import check_batches, check_clip
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders import plug_ins
from terrycloth.models.recommenders.kinds import PLUG_IN, Solver
from terrycloth.models.recommenders.recommender import Recommender

DIM = 4
SIGNATURE = "Class(num_items, dim), or a classmethod for_catalogue(catalogue, dim)"
CONSTRUCTED = f"the class is constructed as {SIGNATURE}"

Check = tuple[str, Callable[[Make], None]]

CHECKS: tuple[Check, ...] = (
    ("it names its loss, and the shopper's vector has its length", contract.check_description),
    ("forward gives the scores of score_catalogue", contract.check_forward),
    ("score_candidates gives the scores of score_catalogue", contract.check_candidates),
    ("score_catalogue accepts zero shoppers", contract.check_no_shoppers),
    ("only shopper.weight is private", contract.check_private_vector),
    ("the shared parameters alone decide the scores", contract.check_shared_parameters_suffice),
    ("load_shared copies", contract.check_load_shared_copies),
    ("load_shared refuses other names and shapes", contract.check_load_shared_refuses),
    ("no persistent buffer, and no layer that mixes examples", contract.check_layers),
    ("initialise is decided by its seed alone", contract.check_initialise),
    ("scoring is deterministic", contract.check_deterministic),
    ("the gradient of each example is exact", contract.check_gradients_of_examples),
    ("the gradient of an example does not depend on others", contract.check_examples_are_independent),
    ("the parts of explain add up to the score", contract.check_explanation),
    *(
        (f"unit {unit}: training in batches gives the reference's update", partial(check_batches, unit=unit))
        for unit in PLUG_IN.units
    ),
    *(
        (f"one {unit} more changes the update by the clip at most", partial(check_clip, unit=unit))
        for unit in PLUG_IN.units
        if unit != "none"
    ),
)


class Outcome(NamedTuple):
    """One check and its result; the reason says why it failed and what to do."""

    check: str
    passed: bool
    reason: str


def check_model(model: str | type[Recommender]) -> Iterator[Outcome]:
    """Yield the outcome of each check of a class, of `package.module:Class`, or of an entry point's name.

    If the class cannot be constructed, that is the only outcome. Raises UserError if there is no such class.
    """
    model_class = class_of(model)
    catalogue = small_catalogue()

    def make() -> Recommender:
        return plug_ins.construct(model_class, catalogue, DIM)

    constructed = outcome((CONSTRUCTED, partial(check_constructed, num_items=len(catalogue))), make)
    yield constructed
    if constructed.passed:
        for check in CHECKS:
            yield outcome(check, make)


def class_of(model: str | type[Recommender]) -> type[Recommender]:
    """The class that is named. Raises UserError."""
    if not isinstance(model, str):
        return model
    try:
        return plug_ins.imported(model) if ":" in model else plug_ins.load(model)
    except ValueError as error:
        raise UserError(str(error)) from None


def outcome(check: Check, make: Make) -> Outcome:
    """Run one check. An error of the model's own code is a failure too."""
    name, run = check
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(make)
    except Broken as error:
        return Outcome(name, False, str(error))
    except Exception as error:
        return Outcome(name, False, f"{type(error).__name__}: {one_line(error)}")
    return Outcome(name, True, "")


def check_constructed(make: Make, num_items: int) -> None:
    """The class makes a recommender of the right size that is trained by gradients."""
    try:
        model = make()
    except Exception as error:
        raise Broken(f"{type(error).__name__}: {one_line(error)}; needed: {SIGNATURE}") from None
    require(isinstance(model, Recommender), "for_catalogue returned no Recommender")
    require(
        (model.num_items, model.dim) == (num_items, DIM),
        f"it has {model.num_items} items and dim {model.dim}, not {num_items} and {DIM}: pass both to "
        "super().__init__",
    )
    require(model.solver is Solver.GRADIENT, "only gradients train it: remove the attribute solver")


def small_catalogue() -> Catalogue:
    """Eight items with one colour, two colours, or no attribute at all."""
    colours = [("white",), ("white", "blue"), ("blue",), ("sand",), (), ("sand",), ("white",), ("blue",)]
    sizes = [("bath",), ("bath",), ("hand",), ("hand",), (), ("face",), ("face",), ("bath",)]
    names = [f"item-{number}" for number in range(len(colours))]
    return Catalogue(pd.DataFrame({"item": names, "title": names, "colour": colours, "size": sizes}))
