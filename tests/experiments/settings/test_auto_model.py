"""`--model auto` reads public facts only, and a run records the chosen model and the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import terrycloth.experiments.runs.simulation
from terrycloth.client.events import Events
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.reports.terminal import reading
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import Reporter, compare, make_plan, resume, simulate
from terrycloth.experiments.settings.auto_model import SMALL_CATALOGUE, PublicFacts, choose
from terrycloth.experiments.settings.config import RunConfig, read_config
from terrycloth.experiments.settings.planning import resolve
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError

FEW = PublicFacts(6, True)
DAY = 86_400


@pytest.mark.parametrize(
    ("facts", "unit", "model"),
    [
        (FEW, "none", "attributes"),
        (FEW, "shopper", "attributes"),
        (FEW, "interaction", "attributes"),
        (FEW._replace(attributes=False), "none", "linear"),
        (FEW._replace(attributes=False), "shopper", "linear"),
        (FEW._replace(attributes=False), "interaction", "mf"),
        (FEW._replace(items=SMALL_CATALOGUE + 1), "none", "linear"),
        (FEW._replace(items=SMALL_CATALOGUE + 1), "shopper", "linear"),
        (FEW._replace(items=SMALL_CATALOGUE + 1), "interaction", "attributes"),
    ],
    ids=str,
)
def test_the_model_by_unit_and_catalogue(facts: PublicFacts, unit: str, model: str) -> None:
    assert choose(facts, unit)[0] == model


def shop(catalogue: Catalogue, seed: int, devices: int = 12, *, attributes: bool = True) -> Dataset:
    """Return a catalogue and random purchases; another seed changes everything that is private."""
    generator = np.random.default_rng(seed)
    size = int(generator.integers(30, 90))
    events = Events.from_columns(
        devices=generator.integers(devices, size=size),
        items=generator.integers(len(catalogue), size=size),
        times=generator.integers(10 * DAY, size=size),
        weights=generator.integers(1, 5, size=size).astype(float),
        num_devices=devices,
    )
    table = catalogue.table if attributes else catalogue.table[["item", "title"]]
    groups = pd.DataFrame({"group": generator.choice(["a", "b"], devices)})
    return Dataset("hand", Catalogue(table), events, ImportReport("hand"), groups=groups)


PROMISES: list[dict[str, Any]] = [
    {},
    {"unit": "interaction", "epsilon": 4.0},
    {"unit": "shopper", "trust": "central", "epsilon": 1.0},
    {"unit": "shopper", "trust": "local", "epsilon": 8.0},
]


@pytest.mark.parametrize("promise", PROMISES, ids=str)
@pytest.mark.parametrize("attributes", [True, False])
def test_the_choice_does_not_depend_on_events(
    catalogue: Catalogue, promise: dict[str, Any], attributes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model, reason and every setting are the same for any events of as many devices with one date.

    A date that is not set is computed from the events once, and is public from then on; nothing else is.
    """
    plans = []
    for seed in range(4):
        data = shop(catalogue, seed, attributes=attributes)
        monkeypatch.setattr(
            terrycloth.experiments.runs.simulation, "load", lambda name, options, data=data: data
        )
        given = RunConfig.model_validate({"model": "auto", "at": "1970-01-08", **promise})
        plans.append(make_plan(given))
        found = make_plan(given.model_copy(update={"at": None})).config
        dated = {"at": found.at, "now": found.now}
        assert found == plans[-1].config.model_copy(update=dated)
    assert len({len(plan.dataset.events) for plan in plans}) > 1
    assert all(plan.config == plans[0].config for plan in plans)
    assert all(plan.promise == plans[0].promise for plan in plans)


def test_a_run_records_the_chosen_model_and_the_reason(tmp_path: Path) -> None:
    asked = RunConfig(
        model="auto", devices=20, unit="interaction", noise_multiplier=1.0, rounds=1, central=False
    )
    folder = simulate(asked, tmp_path / "run")
    kept, result = folder.read_config(), folder.read_result()
    assert kept.model == result.model == "attributes"
    line = kept.model_reason
    assert line is not None
    assert line.startswith("--model auto chose attributes: ")
    assert "the number of items, 300, " in line
    assert "\n" not in line
    assert line in reading(result)
    assert resume(folder.path).read_result() == result
    again = read_config(folder.config, {"model": "mf"}, [])
    assert (again.model, again.model_reason) == ("mf", None), "a named model has no reason"


def test_a_named_model_has_no_reason(finished: RunFolder) -> None:
    assert finished.read_config().model_reason is None
    assert finished.read_result().model_reason is None


def test_without_a_promise_the_reason_does_not_mention_noise() -> None:
    for attributes in (True, False):
        assert "noise" in choose(PublicFacts(5_000, attributes), "shopper")[1]
        assert "noise" not in choose(PublicFacts(5_000, attributes), "none")[1]


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "given"), [("shopper", True), ("none", False)])
def test_a_promise_says_if_the_catalogue_was_made_from_events(
    unit: Any, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust: Any = "central" if unit == "shopper" else "local"
    config = RunConfig(devices=200, model="linear", unit=unit, trust=trust, central=False, ceiling=False)
    assert not make_plan(config).promise.catalogue_from_events

    def load(name: str, options: DataOptions) -> Dataset:
        return replace(read(name, options), catalogue_from_events=True)

    read = terrycloth.experiments.runs.simulation.load
    monkeypatch.setattr(terrycloth.experiments.runs.simulation, "load", load)
    plan = make_plan(config)
    assert plan.promise.catalogue_from_events is given
    if given:
        popularity = compare(plan, Reporter()).of("private_popularity")
        assert popularity is not None
        assert popularity.promise is not None
        assert popularity.promise.catalogue_from_events


def test_auto_needs_a_catalogue() -> None:
    with pytest.raises(UserError, match="--model auto is chosen where there is a catalogue: name a model"):
        resolve(RunConfig(model="auto"), 100)


def test_public_facts_come_from_the_catalogue(catalogue: Catalogue) -> None:
    bare = replace(catalogue, table=catalogue.table[["item", "title"]])
    assert PublicFacts.of(catalogue) == (6, True)
    assert PublicFacts.of(bare) == (6, False)
