"""An assessment of the towel shop, from its data to the verdict."""

from pathlib import Path

import numpy as np
import pytest

from terrycloth.experiments.assessment.assess import TIMES_AS_MANY, assess
from terrycloth.experiments.assessment.choice import EPSILONS
from terrycloth.experiments.assessment.period import periods
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.runs.simulation import Reporter
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError


class RecordedProgress(Reporter):
    """Records the phases of an assessment, and counts their steps."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.steps = 0

    def doing(self, what: str, steps: int | None = None) -> None:
        """Record the phase."""
        self.phases.append(what)

    def step(self) -> None:
        """Count the step."""
        self.steps += 1


def towels(devices: int) -> tuple[RunConfig, Dataset]:
    """Return a small towel shop, and the settings that name it."""
    config = RunConfig(data="towels", devices=devices, split="date")
    return config, load("towels", DataOptions(devices=devices))


def test_the_earlier_period_has_no_event_of_the_later_one() -> None:
    config, dataset = towels(200)
    earlier, later = periods(config, dataset)
    at = later.split.rule.at
    assert at is not None
    assert earlier.split.rule.at is not None
    assert earlier.dataset.events.times.max() < at
    assert earlier.split.rule.at < at
    assert later.tested > 20


def test_too_few_shoppers_are_an_error() -> None:
    with pytest.raises(UserError, match="fewer than 20 say nothing: use more orders"):
        periods(*towels(20))


@pytest.mark.slow
def test_an_assessment_of_the_towel_shop(tmp_path: Path) -> None:
    progress = RecordedProgress()
    config, dataset = towels(300)
    found = assess(config, dataset, tmp_path / "scratch", progress)
    assert list(tmp_path.iterdir()) == []
    assert progress.phases[0].startswith("splitting by date")
    assert progress.steps >= len(EPSILONS) * len(TIMES_AS_MANY)
    assert [each.name for each in found.alternatives if not each.floor] == ["ease"]
    assert found.left_out == [BASELINES["own_frequency"].left_out(found.later.split, dataset.catalogue)]
    assert found.model in found.models
    best = max(private for _, private in found.models.values())
    assert found.models[found.model][1] == best
    assert found.choice.asked in found.choice.tried
    assert found.promise.epsilon == pytest.approx(found.choice.asked.epsilon, rel=1e-3)
    assert not found.promise.seeded
    assert np.array_equal(found.private.found, found.at_sizes[found.choice.asked.epsilon][1].found)
    assert len(found.made_up) == 3
    for shopper in found.made_up:
        for item in shopper.shown:
            assert sum(item.reasons.values()) == pytest.approx(item.score, abs=1e-4)
            assert item.title not in shopper.bought
