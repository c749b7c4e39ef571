"""A privacy plan states what a run would: the same noise and the same promise."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.reports.privacy_plan import (
    PrivacyPlan,
    make_privacy_plan,
    print_plan,
    spread,
    write_plan,
)
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.experiments.settings.planning import make_promise, resolve
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import epsilon_spent

CENTRAL = {"unit": "shopper", "trust": "central", "devices": 1000, "participation": 0.2, "rounds": 20}
LOCAL = {"unit": "shopper", "trust": "local", "devices": 1000, "rounds": 20}


def plan(points: int = 8, **settings: Any) -> PrivacyPlan:
    return make_privacy_plan(RunConfig.model_validate(settings), points)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {**CENTRAL, "noise_multiplier": 2.0},
        {**LOCAL, "epsilon": 4.0},
        {"unit": "interaction", "devices": 50, "epsilon": 2.0, "steps_per_round": 3},
        {"unit": "shopper", "devices": 50, "epsilon": 4.0, "noise_multiplier": 20.0},
        {"unit": "shopper", "trust": "central", "devices": 900, "epsilon": 4.0, "model": "linear"},
    ],
    ids=str,
)
def test_the_plan_has_the_promise_of_a_run(settings: dict[str, Any]) -> None:
    config = RunConfig.model_validate(settings)
    resolved = resolve(config, settings["devices"])
    made = make_privacy_plan(config)
    assert (made.config, made.promise) == (resolved, make_promise(resolved))
    assert made.spending[-1] == (resolved.rounds, made.promise.epsilon)
    assert made.accountants[0] == (made.promise.epsilon, made.promise.accountant)


@pytest.mark.slow
def test_the_epsilon_spent_by_hand() -> None:
    made = plan(**CENTRAL, noise_multiplier=2.0)
    assert [done for done, _ in made.spending] == [3, 5, 8, 10, 13, 15, 18, 20]
    for done, epsilon in made.spending:
        assert epsilon == epsilon_spent(2.0, 0.2, done, 1e-5).epsilon


def test_the_bound_on_an_attacker_by_hand() -> None:
    """20 rounds at noise √20 equal one round at noise 1."""
    made = plan(**LOCAL, noise_multiplier=math.sqrt(20.0))
    (_, at_thousandth), (_, at_hundredth), (_, at_tenth) = made.attacker
    # The expected values are Φ(Φ⁻¹(α) + 1) from a table of the normal distribution.
    assert at_thousandth == pytest.approx(0.0183, abs=1e-4)
    assert at_hundredth == pytest.approx(0.0924, abs=1e-4)
    assert at_tenth == pytest.approx(0.3891, abs=1e-4)


def test_all_of_few_rounds_are_shown_and_some_of_many() -> None:
    assert spread(1, 8) == [1]
    assert spread(3, 8) == [1, 2, 3]
    assert spread(200, 8) == [25, 50, 75, 100, 125, 150, 175, 200]
    assert set(spread(77, 8)) <= set(spread(77, 16)), "the table's rows are among the figure's points"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"unit": "shopper"}, "--devices"),
        ({"devices": 10}, "--unit"),
        ({"unit": "shopper", "devices": 10, "noise_multiplier": 0.0}, "--noise-multiplier above 0"),
    ],
)
def test_settings_without_a_plan_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        plan(**settings)


def test_printed_numbers_are_never_rounded_down(capsys: pytest.CaptureFixture[str]) -> None:
    made = plan(16, **LOCAL, noise_multiplier=7.0)
    print_plan(made)
    printed_text = capsys.readouterr().out
    assert made.promise.sentence() in printed_text
    assert "Noise multiplier 7, clip 1: noise of standard deviation 7; each device adds it." in printed_text
    assert "one Gaussian step, with no sampling" in printed_text
    table = {name: float(epsilon) for name, epsilon in re.findall(r"│ ([\w-]+) +│ ([\d.]+) +│", printed_text)}
    for spent in made.accountants:
        assert spent.epsilon <= table[spent.accountant] <= spent.epsilon * 1.001
    assert set(table) >= {"analytic-gaussian", "opacus-rdp", "opacus-prv", "dp-accounting-rdp"}
    for done, epsilon in made.spending:
        assert (str(done) in table) == (done in spread(20, 8))
        assert table.get(str(done), epsilon) >= epsilon
    rates = [tuple(map(float, row)) for row in re.findall(r"│ ([\d.]+)% +│ ([\d.]+)% +│", printed_text)]
    assert [false for false, _ in rates] == [0.1, 1.0, 10.0]
    for (_, printed), (_, true) in zip(rates, made.attacker, strict=True):
        assert 100 * true <= printed <= 100 * true * 1.01


def test_the_files_of_a_plan(tmp_path: Path) -> None:
    made = plan(**LOCAL, noise_multiplier=7.0)
    write_plan(made, tmp_path / "new" / "plan")
    folder = tmp_path / "new" / "plan"
    assert sorted(path.name for path in folder.iterdir()) == ["epsilon.png", "epsilon.svg", "plan.json"]
    written = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert written["promise"] == made.promise.model_dump(mode="json")
    assert written["accountants"]["analytic-gaussian"] == made.promise.epsilon
    assert written["spending"][-1] == {"round": 20, "epsilon": made.promise.epsilon}
    assert written["attacker"][1]["false_positive_rate"] == 0.01
    assert "spent so far" in (folder / "epsilon.svg").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="exists"):
        write_plan(made, folder)


def test_a_plan_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no figure")

    monkeypatch.setattr("terrycloth.experiments.reports.figures.draw_plan", fail)
    with pytest.raises(RuntimeError, match="no figure"):
        write_plan(plan(**LOCAL, noise_multiplier=7.0), tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []


def test_the_noise_of_each_round_of_the_linear_model_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    linear = {
        "unit": "shopper",
        "trust": "central",
        "devices": 900,
        "model": "linear",
        "popularity_share": 0.25,
    }
    print_plan(made := plan(**linear, noise_multiplier=1.5))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Noise multiplier 1.5, clip 1" in printed
    assert "That is for all rounds together; the single rounds have 3 and 1.732." in printed
    assert [epsilon for _, epsilon in made.spending] == [
        epsilon_spent(3.0, 1.0, 1, 1e-5).epsilon,
        pytest.approx(epsilon_spent(1.5, 1.0, 1, 1e-5).epsilon),
    ]
