"""The page, the JSON and the terminal output of an assessment, from figures that no run made."""

import json
from pathlib import Path

import numpy as np
import pytest

from terrycloth.client.events import Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.assessment.alternatives import Alternative
from terrycloth.experiments.assessment.assess import TIMES_AS_MANY, Assessment
from terrycloth.experiments.assessment.choice import EPSILONS, Choice
from terrycloth.experiments.assessment.columns import WithoutColumn
from terrycloth.experiments.assessment.folder import as_json, write_assessment
from terrycloth.experiments.assessment.identifying import Identifying
from terrycloth.experiments.assessment.made_up import MadeUp
from terrycloth.experiments.assessment.page import assessment_page
from terrycloth.experiments.assessment.period import Measured, Period
from terrycloth.experiments.assessment.private_models import Asked
from terrycloth.experiments.assessment.terminal import print_assessment
from terrycloth.experiments.assessment.verdict import verdict
from terrycloth.experiments.datasets.dataset import Dataset, ImportReport
from terrycloth.experiments.evaluation.bootstrap import paired_bootstrap
from terrycloth.experiments.evaluation.split import Holdout, Rule, Split
from terrycloth.experiments.pages.page import render
from terrycloth.experiments.reports.recommendation import Recommendation
from terrycloth.experiments.runs.trained import Trained
from terrycloth.experiments.settings.planning import ResolvedConfig
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.promise import Promise
from terrycloth.models.recommenders.build import build_model

SHOPPERS = 100
SHOWN = Recommendation(1, "t1", "<b>moss", 0.5, {"you like colour=sand": 0.5})
PROMISE = Promise(
    unit="shopper", trust="central", epsilon=8.0, delta=1e-5, noise_multiplier=0.6, clip=1.0,
    participation=1.0, rounds=1, steps_per_round=1, sampling_rate=1.0, accountant="analytic-gaussian",
    seeded=False,
)  # fmt: skip


def measured(per_100: int) -> Measured:
    """Return measurements in which the first shoppers find something and the others do not."""
    found = (np.arange(SHOPPERS) < per_100).astype(np.float64)
    return Measured(found, found / 2)


@pytest.fixture
def found(catalogue: Catalogue) -> Assessment:
    """Return an assessment of 100 shoppers: 30 find something privately, and 12 among best sellers."""
    devices = np.arange(SHOPPERS)
    events = Events.from_columns(devices, devices % 6, devices, np.ones(SHOPPERS), SHOPPERS)
    targets = Targets.from_pairs(devices, (devices + 1) % 6, SHOPPERS)
    split = Split(Rule("date", at=1_320_192_000), events, Holdout(events, targets))
    report = ImportReport("orders.csv", rows_read=110, rows_kept=100, rows_dropped={"no shopper": 10})
    floors = {"best sellers": measured(12), "items like those each shopper bought": measured(10)}
    alternatives = [Alternative(label, label, each, earlier=None) for label, each in floors.items()]
    at_sizes = {
        epsilon: {times: measured(int(20 + epsilon + len(str(times)))) for times in TIMES_AS_MANY}
        for epsilon in EPSILONS
    }
    private = at_sizes[8.0][1] = measured(30)
    asked = Asked("central", 8.0)
    model = build_model("mf", catalogue, dim=2, own_rows=True, item_bias=True)
    return Assessment(
        Period(Dataset("csv", catalogue, events, report), split),
        Identifying({1: 0.4, 2: 0.915}, {"colour": 0.75}),
        [
            WithoutColumn("time", paired_bootstrap(np.repeat(-7.0, 10))),
            WithoutColumn("quantity", paired_bootstrap(np.zeros(10))),
        ],
        alternatives,
        ["own frequency recommends only items that the shopper has"],
        {"linear": (35.0, 30.0)},
        "linear",
        ("the same model (linear)", measured(35)),
        Choice(asked, True, 31.0, {asked: 30.0}),
        PROMISE,
        at_sizes,
        dict.fromkeys(EPSILONS, 0.255),
        Trained(ResolvedConfig.model_construct(), catalogue, model),
        [MadeUp("sand", ["sand hand towel"], [SHOWN])],
        verdict(floors, measured(35), private, True, "ε = 8", {10: measured(31)}),
        1.0,
    )  # fmt: skip


def test_the_first_screen_shows_the_answer(found: Assessment) -> None:
    page = assessment_page(found, ["--data", "csv"])
    assert page.answer == (
        "Yes: under ε = 8, 30.0 of 100 shoppers find something among ten, against 12.0 with best sellers."
    )
    assert [tile.value for tile in page.tiles] == ["30.0 of 100", "12.0 of 100", "25.5 of 100", "100"]
    assert page.chart is not None
    assert [line.label for line in page.chart.lines] == [
        "this many shoppers",
        "ten times as many",
        "a hundred times as many",
    ]
    assert [step.y for step in page.chart.floor] == [10.0]  # this floor needs no other shopper's data


def test_the_page_says_what_was_read_and_what_could_be_left_out(found: Assessment) -> None:
    html = render(assessment_page(found, ["--data", "csv", "--path", "my orders.csv"]))
    assert "10 rows were left out: no shopper." in html
    assert "91.5 of 100 shoppers are singled out by 2 of their purchases" in html
    assert "Not compared: own frequency recommends only items that the shopper has." in html
    assert "not used by this model, so it can be left out" in html
    assert "30.0 against 31.0 of 100 shoppers there" in html
    assert "&#39;my orders.csv&#39;" in html  # a path with a space is quoted in every command
    assert "<b>moss" not in html
    assert "no promise of privacy covers the page itself" in html


def test_a_column_is_needed_only_if_its_whole_interval_is_a_loss(found: Assessment) -> None:
    assert [each.needed for each in found.columns] == [True, False]


def test_the_folder_and_the_terminal_show_the_same_figures(
    found: Assessment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = write_assessment(found, tmp_path, ["--data", "csv"])
    stored = json.loads((tmp_path / "assessment.json").read_text())
    assert stored == json.loads(json.dumps(as_json(found)))
    assert stored["answer"] == "yes"
    assert stored["alternatives"]["best sellers"]["private_minus_this"]["mean"] == pytest.approx(18.0)
    print_assessment(found, page)
    printed = capsys.readouterr().out
    assert stored["sentence"] in printed
    assert "are seeded" in printed  # the promise is that of a real run, not of these seeded ones
    assert printed.endswith(page.resolve().as_uri() + "\n")
