"""What the end of a run says, which must follow from its figures; and what a pipe gets of its rounds."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from experiments.config import RunConfig
from experiments.result import Result
from experiments.run_folder import RunFolder
from experiments.simulation import make_plan
from experiments.terminal import (
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
from tests.experiments.test_result import DESIGN, NO_PROMISE

ROW: dict[str, Any] = {
    "round": 3,
    "epsilon": 4.25,
    "hr@10": 0.125,
    "ndcg@10": 0.0625,
    "answered": 1999,
    "bytes_up": 1024,
    "seconds": 0.5,
}


def result(own: float | None, popular: float | None, tested: int = 1980, **promise: Any) -> Result:
    """The design's result with these two HR@10."""
    changed = {
        **DESIGN,
        "data": {**DESIGN["data"], "tested": tested},
        "promise": {**DESIGN["promise"], **promise},
        "metrics": {**DESIGN["metrics"], "full": {**DESIGN["metrics"]["full"], "hr@10": own}},
        "baselines": {
            **DESIGN["baselines"],
            "popularity": {
                **DESIGN["baselines"]["popularity"],
                "full": {**DESIGN["baselines"]["popularity"]["full"], "hr@10": popular},
            },
        },
    }
    return Result.model_validate(changed)


def drawn(renderable: Any, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as text:
        console.print(renderable)
    return text.get()


# --- In words ---------------------------------------------------------------------------------------------


def test_above_popularity() -> None:
    promise, compared = reading(result(0.3, 0.1))
    assert promise == result(0.3, 0.1).promise.sentence()
    assert "0.300 against popularity's 0.100, on 1,980 shoppers" in compared
    assert "+0.200" in compared
    assert "too close" not in compared


def test_below_popularity_under_local_trust_says_what_would_help() -> None:
    _, compared, why = reading(result(0.05, 0.1))
    assert "-0.050" in compared
    assert "local trust" in why
    assert "2,000" in why


@pytest.mark.parametrize(
    "promise", [NO_PROMISE, {"noise_multiplier": 0.0, "epsilon": None, "accountant": None}], ids=str
)
def test_below_popularity_without_a_promise_does_not_blame_one(promise: dict[str, Any]) -> None:
    said, *others = reading(result(0.05, 0.1, **promise))
    assert said.startswith("No promise")
    assert len(others) == 1
    assert "noise" not in others[0]


@pytest.mark.parametrize(("own", "popular"), [(None, 0.1), (0.1, None), (None, None)])
def test_nobody_tested(own: float | None, popular: float | None) -> None:
    assert reading(result(own, popular, tested=0))[1:] == [
        "Nobody could be tested: no shopper has two different items."
    ]


@pytest.mark.parametrize("own", [0.0, 0.3])
def test_popularity_that_finds_nobody_can_be_compared_with(own: float) -> None:
    compared = reading(result(own, 0.0))[1]
    assert f"{own:.3f} against popularity's 0.000" in compared
    assert ("too close" in compared) == (own == 0.0)


def test_the_tables_epsilon_is_never_rounded_down() -> None:
    assert " 4.01 " in drawn(result_table(result(0.3, 0.1, epsilon=4.001)))


def test_a_few_shoppers_prove_nothing() -> None:
    """0.12 against 0.10: among 100 it is chance, among 100,000 it is not."""
    assert "too close" in reading(result(0.12, 0.1, tested=100))[1]
    assert "too close" not in reading(result(0.12, 0.1, tested=100_000))[1]


@pytest.mark.parametrize("tested", [1, 2])
def test_one_shopper_proves_nothing(tested: int) -> None:
    assert "too close" in reading(result(1.0, 0.0, tested=tested))[1]


def test_a_verdict_at_two_standard_errors() -> None:
    for difference in (0.0, 0.02, -0.02, 0.0199):
        assert "too close" in verdict(difference, 0.01)
    for difference in (0.0201, -0.0201, 0.5):
        assert "too close" not in verdict(difference, 0.01)
        assert f"{difference:+.3f}" in verdict(difference, 0.01)


# --- In tables --------------------------------------------------------------------------------------------


def test_the_table_holds_the_promise_and_every_comparison() -> None:
    central = {**DESIGN["baselines"]["popularity"]}
    whole = Result.model_validate({**DESIGN, "baselines": {**DESIGN["baselines"], "central": central}})
    table = result_table(whole)
    names = list(table.columns[0].cells)
    assert names == ["federated attributes", "central attributes", "popularity", "ceiling: oracle"]
    assert list(table.columns[1].cells) == ["7.98", "∞", "∞", ""]
    assert list(table.columns[2].cells) == ["0.3000", "0.1000", "0.1000", "0.8000"]
    assert list(table.columns[6].cells)[:1] == [f"{1024 * 30:,}"]
    text = drawn(table)
    assert "interaction level, local trust, ε = 7.98, δ = 1e-05 (not private: seeded)" in text
    assert "towels: 2,000 devices, 300 items" in text
    assert "Measured by the simulator" in text


def test_the_table_without_a_promise_and_without_anyone_tested() -> None:
    table = result_table(result(None, None, **NO_PROMISE))
    assert list(table.columns[0].cells) == ["federated attributes", "popularity", "ceiling: oracle"]
    assert next(iter(table.columns[1].cells)) == "∞"
    assert list(table.columns[2].cells) == ["–", "–", "0.8000"]
    assert "not private" in drawn(table)


def test_private_popularity_and_the_libraries_are_beside_the_run() -> None:
    whole = result(0.12, 0.1, tested=100_000)
    accuracy = whole.baselines.popularity.model_dump(by_alias=True)
    private = {**accuracy, "full": {**accuracy["full"], "hr@10": 0.09}, "promise": whole.promise}
    tuned = {**accuracy, "settings": {"lambda": 300.0}}
    baselines = type(whole.baselines).model_validate(
        {
            **whole.baselines.model_dump(by_alias=True),
            "private_popularity": private,
            "ease": tuned,
            "ials": tuned,
        }
        | {"left_out": ["a reason"]}
    )
    beside = whole.model_copy(update={"baselines": baselines})
    table = drawn(result_table(beside))
    for name in ("EASE", "iALS", "private popularity"):
        assert name in table
    said = reading(beside)
    assert f"({whole.promise.label}) reaches 0.090: +0.030, above it" in said[2]
    assert said[3] == "a reason"


def test_a_table_fits_eighty_columns() -> None:
    assert max(map(len, drawn(result_table(result(0.3, 0.1)), width=80).splitlines())) <= 80
    names = drawn(result_table(result(0.3, 0.1)), width=80)
    assert "federated attributes" in names, "the name of a row is not broken"


def test_rounds() -> None:
    line = round_line(ROW)
    assert line == (
        "round 3: HR@10 0.1250, NDCG@10 0.0625, ε so far 4.25, 1,999 answered, "
        "1,024 bytes up a device, 0.50 s"
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
        assert line in text, "a pipe gets whole lines"
    assert text.endswith(f"run folder: {finished.path}\n")


# --- As it goes -------------------------------------------------------------------------------------------


def test_a_pipe_gets_a_line_a_measured_round(capsys: pytest.CaptureFixture[str]) -> None:
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
    assert lines[-3:] == [plan.promise.sentence(), round_line(ROW), "measuring …"]
    assert "\x1b" not in text


def test_the_import_line_accounts_for_every_row() -> None:
    plan = make_plan(RunConfig(devices=30))
    report = SimpleNamespace(
        source="shop.csv", rows_read=1009, rows_kept=1000, rows_dropped={"no item": 8, "no time": 1}, notes=[]
    )
    dataset = SimpleNamespace(report=report, catalogue=plan.dataset.catalogue)
    line = import_line(SimpleNamespace(dataset=dataset, split=plan.split, config=plan.config))  # type: ignore[arg-type]
    assert line.startswith("shop.csv: 1,009 rows read, 1,000 kept, dropped: 8 no item, 1 no time; 30 devices")
    tested = int((plan.split.held_out >= 0).sum())
    assert line.endswith(f"{len(plan.split.train):,} events of 300 items, {tested} have one held out")


def test_a_terminal_gets_a_table_that_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
