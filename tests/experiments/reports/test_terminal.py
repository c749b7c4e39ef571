"""The text at the end of a run must follow from its figures; a pipe gets a line for each round."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from terrycloth.experiments.reports.terminal import (
    TerminalReporter,
    import_line,
    number,
    print_result,
    reading,
    result_table,
    round_line,
    rounds_table,
    verdict,
)
from terrycloth.experiments.runs.result import Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import make_plan
from terrycloth.experiments.settings.config import RunConfig
from tests.experiments.runs.test_result import DESIGN, NO_PROMISE

ROW: dict[str, Any] = {
    "round": 3,
    "epsilon": 4.25,
    "hr@10": 0.125,
    "ndcg@10": 0.0625,
    "answered": 1999,
    "bytes_up": 1024,
    "seconds": 0.5,
}


def result(
    own: float | None,
    popular: float | None,
    error: float | None = 0.005,
    paired: dict[str, float] | None = None,
    **promise: Any,
) -> Result:
    """Return the result of DESIGN with these two HR@10, and no baseline but popularity.

    error: the standard error of both. paired: the run's difference from popularity, paired by shopper.
    """
    full = DESIGN["metrics"]["full"]
    popularity = DESIGN["baselines"]["popularity"]
    changed = {
        **DESIGN,
        "promise": {**DESIGN["promise"], **promise},
        "metrics": {**DESIGN["metrics"], "full": full | {"hr@10": own, "hr@10_error": error}, "unseen": {}},
        "baselines": {
            "popularity": popularity
            | {"full": full | {"hr@10": popular, "hr@10_error": error}, "paired": paired or {}},
            "ceiling": DESIGN["baselines"]["ceiling"],
        },
    }
    return Result.model_validate(changed)


def with_baselines(result: Result, private: bool = False, **levels: float) -> Result:
    """Return the result with more baselines, by their HR@10; private: each keeps the run's promise."""
    measured = result.baselines.model_dump()
    further = {
        name: measured["popularity"]
        | {"full": measured["popularity"]["full"] | {"hr@10": level}}
        | {"promise": result.promise.model_dump() if private else None}
        for name, level in levels.items()
    }
    baselines = type(result.baselines).model_validate(measured | further)
    return result.model_copy(update={"baselines": baselines})


def drawn(renderable: Any, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as text:
        console.print(renderable)
    return text.get()


# --- As sentences -----------------------------------------------------------------------------------------


def test_the_text_for_a_run_above_popularity() -> None:
    promise, compared = reading(result(0.3, 0.1))
    assert promise == result(0.3, 0.1).promise.sentence()
    assert "0.300 against 0.100 of popularity, on 1,980 shoppers" in compared
    assert "+0.200, above it" in compared


def test_the_text_for_a_run_below_popularity_says_what_would_help() -> None:
    """The same model trained in one place is above popularity, so it has something to learn."""
    *_, compared, why = reading(with_baselines(result(0.05, 0.1), central=0.15))
    assert "-0.050" in compared
    assert "local trust" in why
    assert "2,000 devices are few; with more," in why


@pytest.mark.parametrize("central", [0.1, 0.08])
@pytest.mark.parametrize("promise", [{}, {"unit": "shopper", "trust": "central"}, NO_PROMISE], ids=str)
def test_more_devices_are_not_advised_if_the_central_model_is_not_above_popularity(
    central: float, promise: dict[str, Any]
) -> None:
    *_, why = reading(with_baselines(result(0.05, 0.1, **promise), central=central))
    assert why.endswith("so more devices would not help: recommend popular items, or try another model.")


def test_more_devices_are_not_advised_without_evidence() -> None:
    for run in (result(0.05, 0.1), with_baselines(result(0.15, 0.1), central=0.2)):
        assert not any("more" in line for line in reading(run)[1:])


def test_the_difference_to_popularity_is_paired_by_shopper() -> None:
    """The two errors together would not separate 0.12 from 0.10; the differences of the same shoppers do."""
    paired = {"difference": 0.02, "difference_low": 0.015, "difference_high": 0.025}
    assert (
        "popularity, on 1,980 shoppers: +0.020, above it (from +0.015 to +0.025)."
        in (reading(result(0.12, 0.1, 0.01, paired))[1])
    )


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        (1, "1 shopper, of whom each moves it by up to 1.000"),
        (99, "99 shoppers, of whom each moves it by up to 0.010"),
    ],
)
def test_a_figure_of_few_shoppers_has_a_warning(tested: int, expected: str) -> None:
    whole = result(1.0, 0.0, paired={"difference": 1.0, "difference_low": 1.0, "difference_high": 1.0})
    few = whole.model_copy(update={"data": whole.data.model_copy(update={"tested": tested})})
    warning, compared = reading(few)[1:3]
    assert warning == f"Few shoppers are tested: HR@10 rests on {expected}. Do not read much into it."
    assert ("too few shoppers to tell apart" in compared) is (tested == 1)
    assert not any("Few shoppers" in line for line in reading(whole))


@pytest.mark.parametrize(
    "promise", [NO_PROMISE, {"noise_multiplier": 0.0, "epsilon": None, "accountant": None}], ids=str
)
def test_below_popularity_without_a_promise_does_not_blame_one(promise: dict[str, Any]) -> None:
    first, expected, *others = reading(result(0.05, 0.1, **promise))
    assert first.startswith("Below its floor: HR@10 is 0.050, and popularity reaches 0.100")
    assert first.endswith("on the same shoppers without this model.")
    assert expected.startswith("No promise")
    assert len(others) == 1
    assert "noise" not in others[0]


def test_a_run_below_its_floor_is_stated_first_and_private_floors_count() -> None:
    """Popularity without a promise is no floor of a run with one: it is only mentioned."""
    above_all = with_baselines(
        with_baselines(result(0.15, 0.2), nothing_released=0.11), private=True, private_popularity=0.12
    )
    assert not reading(above_all)[0].startswith("Below")
    below = with_baselines(
        with_baselines(result(0.115, 0.2), nothing_released=0.11), private=True, private_popularity=0.12
    )
    assert reading(below)[0] == (
        "Below its floor: HR@10 is 0.115, and private popularity reaches 0.120 on the same shoppers under an "
        "equally strong promise. Popularity without a promise is above it too: 0.200."
    )
    alone = with_baselines(result(0.1, 0.05), nothing_released=0.11)
    assert reading(alone)[0].startswith("Below its floor: HR@10 is 0.100, and nothing released reaches 0.110")
    assert "Popularity without" not in reading(alone)[0]
    assert not reading(with_baselines(result(0.11, 0.05), nothing_released=0.11))[0].startswith("Below")


def test_a_strong_baseline_is_no_floor() -> None:
    assert not reading(with_baselines(result(0.15, 0.1), ease=0.3, central=0.4))[0].startswith("Below")


def test_the_text_states_what_shoppers_data_added() -> None:
    expected = "with nothing released: +0.030."
    assert any(
        line.endswith(expected) for line in reading(with_baselines(result(0.14, 0.1), nothing_released=0.11))
    )
    assert not any("nothing released" in line for line in reading(result(0.14, 0.1)))


def test_shoppers_first_seen_after_the_date_have_separate_lines() -> None:
    seen = {
        "first visit": {"visits": 40.0, "hr@10": 0.08, "ndcg@10": 0.04},
        "later visits": {"visits": 0.0, "hr@10": None, "ndcg@10": None},
    }
    whole = result(0.3, 0.1)
    metrics = whole.metrics.model_copy(update={"unseen": seen})
    lines = [line for line in reading(whole.model_copy(update={"metrics": metrics})) if "first seen" in line]
    assert lines == ["Shoppers first seen after 2025-10-18, first visit: HR@10 0.080 over 40 visits."]


@pytest.mark.parametrize(("own", "popular"), [(None, 0.1), (None, None)])
def test_the_text_if_no_shopper_was_tested(own: float | None, popular: float | None) -> None:
    assert reading(result(own, popular))[1:] == [
        "Nobody could be tested: no shopper has a target under this split."
    ]


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_a_run_can_be_compared_with_popularity_at_zero(own: float) -> None:
    compared = reading(result(own, 0.0))[1]
    assert f"{own:.3f} against 0.000 of popularity" in compared
    assert ("too close" in compared) == (own == 0.0)


def test_epsilon_in_the_table_is_never_rounded_down() -> None:
    assert " 4.01 " in drawn(result_table(result(0.3, 0.1, epsilon=4.001)))


def test_the_standard_errors_decide_if_runs_cannot_be_paired() -> None:
    """0.12 against 0.10 with errors of .01 each, .0141 together, may be chance; with .005 each it is not."""
    assert "too close to tell apart (standard error 0.014)" in reading(result(0.12, 0.1, 0.01))[1]
    assert "+0.020, above it (standard error 0.007)" in reading(result(0.12, 0.1, 0.005))[1]


def test_one_shopper_is_too_few() -> None:
    """The standard error of one shopper is unknown."""
    assert "too few shoppers to tell apart" in reading(result(1.0, 0.0, None))[1]


def test_a_verdict_at_two_standard_errors() -> None:
    for difference in (0.0, 0.02, -0.02, 0.0199):
        assert "too close" in verdict(difference, 0.01)
    assert "too few" in verdict(0.5, None)
    for difference in (0.0201, -0.0201, 0.5):
        assert "too close" not in verdict(difference, 0.01)
        assert f"{difference:+.3f}" in verdict(difference, 0.01)


# --- As tables --------------------------------------------------------------------------------------------


def test_the_table_holds_the_promise_and_every_comparison() -> None:
    whole = with_baselines(result(0.3, 0.1), central=0.32, nothing_released=0.05)
    table = result_table(with_baselines(whole, private=True, private_popularity=0.09))
    assert list(table.columns[0].cells) == [
        "federated attributes", "popularity", "central attributes", "nothing released", "private popularity",
        "ceiling: oracle",
    ]  # fmt: skip
    assert list(table.columns[1].cells) == ["7.98", "∞", "∞", "∞", "7.98", ""]
    assert list(table.columns[2].cells) == ["0.3000", "0.1000", "0.3200", "0.0500", "0.0900", "0.8000"]
    sent = list(table.columns[5].cells)
    assert sent[:5] == [f"{1024 * 30:,}", "all events", "all events", "nothing", ""]
    text = drawn(table)
    assert "interaction level, local trust, ε = 7.98, δ = 1e-05 (not private: seeded)" in text
    assert "towels by date: 2,000 devices, 300 items" in text
    expected = " ".join(text.split())
    assert "By date: what happened before 2025-10-18 trains; the test is what came after." in expected
    assert "Measured by the simulator" in text


def test_sampled_negatives_are_shown_only_for_the_split_of_published_tables() -> None:
    whole = result(0.3, 0.1)
    by_last_item = whole.model_copy(update={"data": whole.data.model_copy(update={"split": "last-item"})})
    for shown, expected in ((whole, False), (by_last_item, True)):
        text = " ".join(drawn(result_table(shown)).split())
        assert ("among 99 sampled negatives, which flatters" in text) is expected
        assert ("of 100" in text) is expected
    few_items = by_last_item.data.model_copy(update={"items": 199})
    assert "of 100" not in drawn(result_table(by_last_item.model_copy(update={"data": few_items})))


def test_the_table_without_a_promise_and_without_anyone_tested() -> None:
    table = result_table(result(None, None, **NO_PROMISE))
    assert list(table.columns[0].cells) == ["federated attributes", "popularity", "ceiling: oracle"]
    assert next(iter(table.columns[1].cells)) == "∞"
    assert list(table.columns[2].cells) == ["–", "–", "0.8000"]
    assert "not private" in drawn(table)


def test_private_popularity_has_its_promise_and_a_missing_baseline_its_reason() -> None:
    whole = with_baselines(result(0.12, 0.1), private=True, private_popularity=0.09)
    baselines = whole.baselines.model_copy(update={"left_out": ["a reason"]})
    expected = reading(whole.model_copy(update={"baselines": baselines}))
    assert (
        f"0.120 against 0.090 of private popularity under an equally strong promise ({whole.promise.label})"
        in expected[2]
    )
    assert expected[3] == "a reason"


def test_a_table_fits_eighty_columns() -> None:
    assert max(map(len, drawn(result_table(result(0.3, 0.1)), width=80).splitlines())) <= 80
    names = drawn(result_table(result(0.3, 0.1)), width=80)
    assert "federated attributes" in names, "the name of a row is not wrapped"


def test_the_line_and_the_table_of_rounds() -> None:
    line = round_line(ROW)
    assert line == (
        "round 3: HR@10 0.1250, NDCG@10 0.0625, ε so far 4.25, 1,999 answered, "
        "1,024 bytes up per device, 0.50 s"
    )
    assert "ε so far –" in round_line({**ROW, "epsilon": None})
    cells = [next(iter(column.cells)) for column in rounds_table([ROW]).columns]
    assert cells == ["3", "0.1250", "0.0625", "4.25", "1,999", "1,024", "0.50"]
    unmeasured = {name: value for name, value in ROW.items() if "@" not in name}
    assert [next(iter(column.cells)) for column in rounds_table([unmeasured]).columns][1:3] == ["–", "–"]
    assert (number(None), number(0.0)) == ("–", "0.0000")


def test_print_result_reads_the_folder(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(finished)
    text = capsys.readouterr().out
    for line in reading(finished.read_result()):
        assert line in text, "a pipe gets unwrapped lines"
    assert text.endswith(f"run folder: {finished.path}\n")


# --- During a run -----------------------------------------------------------------------------------------


def test_a_pipe_gets_a_line_for_each_evaluated_round(capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(RunConfig(devices=30, unit="interaction", noise_multiplier=1.0))
    unmeasured = {name: value for name, value in ROW.items() if "@" not in name}
    with TerminalReporter() as reporter:
        reporter.planned(plan)
        reporter.round_done(unmeasured)
        reporter.round_done(ROW)
        reporter.doing("measuring")
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == import_line(plan)
    assert lines[-4:] == [plan.promise.sentence(), "training …", round_line(ROW), "measuring …"]
    assert "\x1b" not in text


def test_the_import_line_accounts_for_every_row() -> None:
    plan = make_plan(RunConfig(devices=30))
    report = SimpleNamespace(
        source="shop.csv", rows_read=1009, rows_kept=1000, rows_dropped={"no item": 8, "no time": 1}, notes=[]
    )
    dataset = SimpleNamespace(report=report, catalogue=plan.dataset.catalogue)
    line = import_line(SimpleNamespace(dataset=dataset, split=plan.split, config=plan.config))  # type: ignore[arg-type]
    assert line.startswith("shop.csv: 1,009 rows read, 1,000 kept, dropped: 8 no item, 1 no time; 30 devices")
    tested, targets = len(plan.split.test.tested()), len(plan.split.test.targets)
    assert 0 < tested < targets, "some shopper has several"
    assert line.endswith(
        f"{len(plan.split.train):,} training events of 300 items, {tested} are tested on {targets} targets. "
        f"{plan.split.rule.sentence}"
    )


def test_a_terminal_shows_a_table_that_is_removed_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    plan = make_plan(RunConfig(devices=30))
    reporter = TerminalReporter()
    assert reporter.console.is_terminal
    with (tmp_path / "screen").open("w+") as screen:
        reporter.console.file = screen
        with reporter:
            reporter.planned(plan)
            for round in range(1, 30):
                reporter.round_done({**ROW, "round": round, "epsilon": math.pi})
            reporter.doing("measuring")
        screen.seek(0)
        text = screen.read()
    assert "3.15" in text
    assert "measuring" in text
    assert "29/80" in text
