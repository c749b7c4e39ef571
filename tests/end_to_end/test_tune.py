"""`terry tune` from the command line to its folder: what it reads, writes, and reports as its cost."""

import csv
import errno
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import terrycloth.experiments.datasets
import terrycloth.experiments.tune.tune
from terrycloth.experiments.cli import main
from terrycloth.experiments.datasets.dataset import DataOptions, PublishedTest
from terrycloth.experiments.evaluation.split import make_split, rule_for
from terrycloth.experiments.settings.config import RunConfig, read_config
from terrycloth.experiments.settings.planning import resolve
from terrycloth.experiments.tune.cost import SearchCost, cost_of, statement
from terrycloth.experiments.tune.folder import SearchFolder
from terrycloth.experiments.tune.search import Runner
from terrycloth.experiments.tune.trial import Outcome, Run, measure, validation_data
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import epsilon_spent
from terrycloth.models.privacy.promise import Promise

CONFIG = RunConfig(devices=60, model="linear", unit="shopper", trust="central", epsilon=4.0)
FLAGS = ["tune", "--devices", "60", "--model", "linear", "--unit", "shopper", "--trust", "central",
         "--epsilon", "4", "--seeds", "1", "--quiet"]  # fmt: skip


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run trials in this process, because starting a new one takes seconds."""

    @contextmanager
    def runner(folder: SearchFolder, message: RunConfig, jobs: int) -> Iterator[Runner]:
        def run(runs: list[Run]) -> Iterator[tuple[Run, Outcome]]:
            for each in runs:
                yield each, measure(message, each, folder.scratch(each))

        yield run

    monkeypatch.setattr(terrycloth.experiments.tune.tune, "runner_in_processes", runner)
    validation_data.cache_clear()
    yield
    validation_data.cache_clear()


def terry(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["terry", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_a_search_writes_settings_that_simulate_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    assert terry(*FLAGS, "--trials", "3", "--out", str(out), monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == f"{out / 'best.toml'}\n"
    assert {path.name for path in out.iterdir()} == {".lock", "search.toml", "trials.csv", "best.toml"}
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 + 3 * 3, "three trials with one seed, and all three again with three new seeds"
    best = tomllib.loads((out / "best.toml").read_text())
    assert {name: str(best[name]) for name in ("popularity_share", "head_scale")} in [
        {name: row[name] for name in ("popularity_share", "head_scale")} for row in rows
    ]
    config = read_config(out / "best.toml", {}, [])
    assert (config.model, config.devices, config.epsilon, config.seed) == ("linear", 60, 4.0, None)


@pytest.mark.slow
def test_a_search_begun_with_other_defaults_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*FLAGS, "--trials", "1", "--out", str(tmp_path / "found")]
    assert terry(*arguments, monkeypatch=monkeypatch) == 0
    before = (tmp_path / "found" / "trials.csv").read_bytes()
    monkeypatch.setattr(terrycloth.experiments.tune.tune, "in_use", lambda: "terrycloth 9, defaults abcd")
    assert terry(*arguments, "--trials", "2", monkeypatch=monkeypatch) == 2
    assert "another search (begun_with differs): choose another --out" in capsys.readouterr().err
    assert (tmp_path / "found" / "trials.csv").read_bytes() == before


@pytest.mark.slow
def test_the_confirming_runs_are_started_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The confirming runs, with new seeds, do not wait for each other."""
    asked, real = [], terrycloth.experiments.tune.tune.runner_in_processes

    def runner(folder: SearchFolder, message: RunConfig, jobs: int) -> Any:
        asked.append(jobs)
        return real(folder, message, jobs)

    monkeypatch.setattr(terrycloth.experiments.tune.tune, "runner_in_processes", runner)
    out = ["--trials", "1", "--out", str(tmp_path / "found")]
    for jobs in ("5", "500"):
        assert terry(*FLAGS, *out, "--jobs", jobs, monkeypatch=monkeypatch) == 0
    assert asked == [5, 12], "four trials are confirmed by three seeds each"


@pytest.mark.slow
def test_repeating_a_finished_search_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*FLAGS, "--trials", "2", "--out", str(tmp_path / "found")]
    assert terry(*arguments, monkeypatch=monkeypatch) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()}
    monkeypatch.setitem(globals(), "measure", None)
    assert terry(*arguments, monkeypatch=monkeypatch) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["none", "shopper"])
def test_no_trial_depends_on_a_test_purchase(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metrics are equal to the last digit, if the last purchases change or are published separately."""
    source = terrycloth.experiments.datasets.load("towels", DataOptions(devices=60))
    train = make_split(source, rule_for(source, "last-item")).train
    everybody = np.arange(60, dtype=np.int32) % 7
    published = PublishedTest(everybody, np.full((60, 99), 1, dtype=np.int32))
    message = CONFIG if unit == "shopper" else RunConfig(devices=60, model="linear")
    message = message.model_copy(update={"split": "last-item"})
    found = []
    for data in (source, replace(source, events=train, published=published, ceiling=None)):
        monkeypatch.setattr(terrycloth.experiments.datasets, "load", lambda name, options, data=data: data)
        validation_data.cache_clear()
        seen, _ = validation_data(RunConfig(devices=60, split="last-item"))
        assert len(seen.events) == len(train)
        assert seen.published is None
        outcome = measure(message, Run(0, 1, {}), tmp_path / "scratch")
        assert outcome.reason == ""
        assert not (tmp_path / "scratch").exists()
        found.append(outcome.metrics)
    assert found[0] == found[1]


# --- The cost of a search ---------------------------------------------------------------------------------


def test_runs_of_one_noise_compose_to_one_gaussian() -> None:
    """Twelve runs with noise z cost as much as one release with noise z/√12, with any other settings."""
    runs = [
        Run(trial, seed, {"popularity_share": 0.2 + trial / 10}) for trial in range(4) for seed in range(3)
    ]
    noise = resolve(CONFIG, 60, 300).noise_multiplier
    cost = cost_of(CONFIG, runs, 60, 300)
    assert cost.models == 12
    assert cost.epsilon == pytest.approx(epsilon_spent(noise / 12**0.5, 1.0, 1, 1e-5).epsilon, rel=1e-6)
    assert cost.epsilon is not None
    assert cost.epsilon > 15.0


def test_a_refused_run_costs_nothing() -> None:
    runs = [Run(0, 0, {}), Run(1, 0, {"head_size": 5000})]
    assert cost_of(CONFIG, runs, 60, 300) == cost_of(CONFIG, runs[:1], 60, 300)


@pytest.mark.slow
def test_a_baseline_that_runs_on_no_device_can_be_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    only = ["--set", "rounds=5", "--set", "dim=4"]
    flags = ["tune", "--devices", "60", "--model", "pfedrec", "--unit", "none", "--seeds", "1", *only]
    assert terry(*flags, "--trials", "2", "--out", str(out), monkeypatch=monkeypatch) == 0
    assert "the search used no person's data" in capsys.readouterr().out
    with (out / "trials.csv").open() as file:
        found = {row["learning_rate"]: row["sampled_ndcg@10"] for row in csv.DictReader(file)}
    assert len(set(found.values())) == 2, "the setting must change the result"


def promise(**changes: Any) -> Promise:
    values = {"unit": "shopper", "trust": "central", "epsilon": 4.0, "delta": 1e-5, "noise_multiplier": 1.0,
              "clip": 1.0, "participation": 1.0, "rounds": 2, "steps_per_round": 1, "sampling_rate": 1.0,
              "accountant": "none", "seeded": True}  # fmt: skip
    return Promise.model_validate(values | changes)


@pytest.mark.parametrize(
    ("cost", "data", "expected"),
    [
        (
            SearchCost(12, 15.678),
            "movielens",
            "promise does not cover the search: ε = 4 covers one run.*15.7",
        ),
        (SearchCost(12, None), "movielens", "There is no promise"),
        (SearchCost(12, 15.678), "towels", "synthetic.*costs no privacy"),
    ],
    ids=str,
)
def test_the_statement_of_the_cost(cost: SearchCost, data: str, expected: str) -> None:
    message = statement(
        cost, data, promise() if cost.epsilon else promise(unit="none", trust=None, epsilon=None)
    )
    assert re.search(expected, message)


def test_a_search_without_validation_targets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With two items without times, one is for the test and one for training, and none for validation."""
    orders, items, out = tmp_path / "orders.csv", tmp_path / "items.csv", tmp_path / "found"
    orders.write_text("shopper,item\nA,1\nA,2\nB,2\nB,1\n", encoding="utf-8")
    items.write_text("item,colour\n1,sand\n2,moss\n", encoding="utf-8")
    flags = ["tune", "--data", "csv", "--path", str(orders), "--catalogue", str(items), "--model", "linear"]
    assert terry(*flags, "--out", str(out), monkeypatch=monkeypatch) == 2
    assert "no shopper has a purchase left for validation" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_full_disk_ends_the_search_without_a_failed_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the search, and the run remains to be done."""

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("terrycloth.experiments.runs.scratch.federate", full)
    with pytest.raises(UserError, match="no space is left"):
        measure(RunConfig(model="linear", devices=30), Run(0, 0, {}), tmp_path / "scratch")


# --- Refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--metric", "recall"], "--metric recall is not known: use ndcg@10"),
        (["--trials", "0"], "--trials"),
        (["--seeds", "0"], "--seeds"),
        (["--set", "seed=3"], "every run of a search has its own seed: remove seed"),
        (["--set", "evaluate=released"], "the simulator measures every run of a search: remove evaluate"),
        (
            ["--set", "negative_sampling=leaky"],
            "a search with leaky negative sampling would only find the leak: remove negative_sampling",
        ),
        (["--delta", "0.5"], "--delta 0.5 would allow"),
        (["--model", "counter", "--unit", "none", "--set", "epsilon=null"], "counter learns nothing"),
        (["--unit", "interaction", "--trust", "local"], "cannot be trained under --unit interaction"),
        (["--set", "head_size=4000"], "head_size = 4000"),
        (
            ["--set", "head_size=9", "--set", "kernel_half_life=5", "--set", "recency_half_life=5",
             "--set", "regularisation=5", "--set", "popularity_share=0.5"],
            "nothing to search",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_reported_in_one_line_and_writes_nothing(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert terry(*FLAGS, "--out", str(tmp_path / "new"), *arguments, monkeypatch=monkeypatch) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
