"""Every variant that leaves out a column trains, and only that column is missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from terrycloth.client.events import Events
from terrycloth.experiments.assessment.columns import TIMELESS, leave_out, variants, with_events
from terrycloth.experiments.assessment.period import Period, periods
from terrycloth.experiments.assessment.private_models import Asked, Trainer
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.settings.config import RunConfig

CONFIG = RunConfig(data="towels", devices=150, split="date", model="attributes", rounds=1, dim=2)


@pytest.fixture(scope="module")
def earlier() -> Period:
    """Return the earlier period of a small towel shop."""
    return periods(CONFIG, load("towels", DataOptions(devices=150)))[0]


def with_quantities(events: Events) -> Events:
    """Return the same events, with a quantity of three in every other one."""
    return replace(events, weights=np.where(np.arange(len(events)) % 2, 3.0, 1.0).astype(np.float32))


def test_each_variant_lacks_its_own_column(earlier: Period) -> None:
    attributes = earlier.dataset.catalogue.attributes
    assert list(variants(earlier, CONFIG)) == ["order of visits in time", "words of titles", *attributes]
    bought = with_events(earlier, with_quantities)  # in the towel shop itself every quantity is 1
    found = variants(bought, CONFIG)
    assert list(found) == ["order of visits in time", "quantity", "words of titles", *attributes]
    timeless = found["order of visits in time"][1]
    assert {name: getattr(timeless, name) for name in TIMELESS} == TIMELESS
    assert found["words of titles"][1].title_words is False
    quantity = found["quantity"][0].split
    assert np.unique(quantity.train.weights).tolist() == [1.0]
    assert np.unique(quantity.test.history.weights).tolist() == [1.0]
    assert quantity.test.targets is earlier.split.test.targets
    for name in attributes:
        assert found[name][0].dataset.catalogue.attributes == [each for each in attributes if each != name]


def test_an_attribute_model_trains_without_any_one_attribute(earlier: Period, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, tmp_path / "scratch", seeds=1)
    asked = Asked("central", 8.0)
    columns = leave_out(earlier, CONFIG, lambda period, config: trainer.like(config).under(asked, period))
    assert [each.column for each in columns][-1] == earlier.dataset.catalogue.attributes[-1]
    assert list(tmp_path.iterdir()) == []
