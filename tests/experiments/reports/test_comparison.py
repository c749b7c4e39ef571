"""Runs are compared on the same shoppers, their figures are recomputed, and unpairable runs are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from terrycloth.experiments.evaluation.ranks import Ranks
from terrycloth.experiments.reports.comparison import as_json, compare_runs, differences
from terrycloth.experiments.reports.comparison_table import print_comparison
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.errors import UserError
from tests.experiments.conftest import TINY


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another run of the same shoppers: the linear model without a promise."""
    config = RunConfig(devices=30, model="linear", seed=7, central=False, ceiling=False)
    return simulate(config, tmp_path_factory.mktemp("other") / "run").path


def refused(paths: list[Path]) -> str:
    with pytest.raises(UserError) as error:
        compare_runs(paths)
    assert "\n" not in str(error.value)
    return str(error.value)


def ranks_of(full: list[float]) -> Ranks:
    """Return ranks of one target a shopper, equal in every ranking."""
    ranks, shoppers = torch.tensor(full, dtype=torch.float64), torch.arange(len(full))
    none = torch.zeros(len(full), dtype=torch.bool)
    return Ranks(
        devices=np.arange(len(full)),
        shoppers=shoppers,
        alone=ranks,
        together=ranks,
        sampled=ranks.unsqueeze(1),
        repeated=none,
        shown=none[:1],
        novelty=torch.zeros(len(full)),
    )


# --- Figures ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_compared_with_itself_has_no_difference(finished: RunFolder) -> None:
    first, again = compare_runs([finished.path, finished.path])
    assert first.differences is None
    assert again.differences is not None
    found = [vars(each) for by_metric in again.differences.values() for each in by_metric.values()]
    assert found == [{"mean": 0.0, "low": 0.0, "high": 0.0, "shoppers": first.result.data.tested}] * 4


@pytest.mark.slow
def test_a_difference_is_that_of_the_reported_figures(finished: RunFolder, other: Path) -> None:
    first, second = compare_runs([finished.path, other])
    assert second.differences is not None
    for protocol in ("full", "sampled99"):
        mine, theirs = (getattr(each.result.metrics, protocol) for each in (first, second))
        found = second.differences[protocol]
        assert found["hr@10"].mean == pytest.approx(theirs["hr@10"] - mine["hr@10"], abs=1e-12)
        assert found["ndcg@10"].mean == pytest.approx(theirs["ndcg@10"] - mine["ndcg@10"], abs=1e-12)
        assert found["hr@10"].low <= found["hr@10"].mean <= found["hr@10"].high


def test_shoppers_are_paired() -> None:
    """Of 200 shoppers half are hits, and the second run has one more, which alone can affect the interval.

    If runs were not paired, each run's own spread, ±.07, would be in the interval.
    """
    first = [1.0, 50.0] * 100
    second = [*first[:-1], 1.0]
    found = differences(ranks_of(first), ranks_of(second))["full"]["hr@10"]
    assert found.mean == pytest.approx(1 / 200)
    assert found.low == 0.0
    assert found.high <= 4 / 200


def test_ranks_of_other_shoppers_cannot_be_compared() -> None:
    one = ranks_of([1.0, 2.0])
    with pytest.raises(AssertionError):
        differences(one, replace(one, devices=np.array([0, 2])))


# --- What cannot be compared ------------------------------------------------------------------------------


def test_one_run_is_too_few(finished: RunFolder) -> None:
    assert "name two run folders" in refused([finished.path])


def test_a_missing_folder_and_an_unfinished_run_are_refused(
    finished: RunFolder, copied: RunFolder, tmp_path: Path
) -> None:
    assert "does not exist" in refused([finished.path, tmp_path / "none"])
    copied.result.unlink()
    assert "holds no finished run" in refused([finished.path, copied.path])


@pytest.mark.parametrize("name", ["model.safetensors", "catalogue.parquet"])
def test_a_missing_or_damaged_file_is_refused(finished: RunFolder, copied: RunFolder, name: str) -> None:
    (copied.path / name).write_bytes(b"no")
    assert "damaged" in refused([finished.path, copied.path])
    (copied.path / name).unlink()
    assert f"lacks {name}" in refused([finished.path, copied.path])


@pytest.mark.parametrize(
    ("line", "changed", "differs"),
    [
        ("devices = 30", "devices = 29", "devices is 29 instead of 30"),
        ("data_seed = 0", "data_seed = 1", "data_seed is 1 instead of 0"),
        ("evaluate_sample = 20000", "evaluate_sample = 5", "evaluate_sample is 5 instead of 20000"),
        ('data = "towels"', 'data = "complete-journey"', "data is complete-journey instead of towels"),
    ],
)
def test_runs_on_different_data_are_refused(
    finished: RunFolder, copied: RunFolder, line: str, changed: str, differs: str
) -> None:
    text = copied.config.read_text()
    assert line in text
    copied.config.write_text(text.replace(line, changed))
    assert differs in refused([finished.path, copied.path])


def test_runs_with_different_catalogues_are_refused(finished: RunFolder, copied: RunFolder) -> None:
    from terrycloth.models.catalogue import Catalogue

    catalogue = Catalogue.load(copied.catalogue)
    catalogue.table.loc[0, "title"] = "another"
    catalogue.save(copied.catalogue)
    assert "the catalogue differs" in refused([finished.path, copied.path])
    assert "the data of" in refused([copied.path, copied.path])


def test_figures_that_cannot_be_reproduced_are_refused(
    finished: RunFolder, copied: RunFolder, other: Path
) -> None:
    result = json.loads(copied.result.read_text())
    result["metrics"]["full"]["mrr"] += 2e-3
    copied.result.write_text(json.dumps(result))
    assert "reports full mrr" in refused([finished.path, copied.path])


def test_figures_released_by_devices_are_refused(finished: RunFolder, copied: RunFolder) -> None:
    copied.result.write_text(copied.result.read_text().replace('"simulator"', '"released"'))
    assert "with noise" in refused([finished.path, copied.path])


def test_missing_data_are_refused(tmp_path: Path) -> None:
    orders, catalogue = tmp_path / "orders.csv", tmp_path / "catalogue.csv"
    orders.write_text(
        "shopper,item,date\n"
        + "".join(f"s{s},{i},2024-01-0{d}\n" for s in range(6) for d, i in enumerate("abc", 1))
    )
    catalogue.write_text("item,title,colour\na,a,sand\nb,b,moss\nc,c,moss\nd,d,\n")
    config = RunConfig(data="csv", path=orders, catalogue=catalogue, model="linear", central=False)
    run = simulate(config, tmp_path / "run").path
    assert len(compare_runs([run, run])) == 2
    shutil.move(orders, tmp_path / "elsewhere.csv")
    assert "cannot be read again" in refused([run, run])


# --- What is printed and written --------------------------------------------------------------------------


def test_the_printed_text_follows_from_the_figures(
    finished: RunFolder, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    print_comparison([finished.path, other], tmp_path / "table.json")
    printed = capsys.readouterr().out
    first, second = compare_runs([finished.path, other])
    assert first.result.promise.sentence() in printed
    assert second.result.promise.sentence() in printed
    assert second.differences is not None
    assert second.differences["full"]["hr@10"].verdict in printed
    assert "10,000 paired bootstrap resamples" in printed
    noised = [each.result.promise.epsilon is not None for each in (first, second)]
    assert ("not the noise that another run would draw" in printed) is any(noised)
    assert json.loads((tmp_path / "table.json").read_text()) == json.loads(
        json.dumps(as_json([first, second]))
    )


def test_the_file_holds_no_value_of_one_shopper(finished: RunFolder, other: Path) -> None:
    """No list in it is as long as the list of shoppers."""
    compared = compare_runs([finished.path, other, other])

    def lengths(value: Any) -> list[int]:
        if isinstance(value, dict):
            return [n for each in value.values() for n in lengths(each)]
        return [len(value), *(n for each in value for n in lengths(each))] if isinstance(value, list) else []

    assert lengths(as_json(compared)) == [len(compared)]
    assert TINY.devices is not None
    assert len(compared) < TINY.devices


def test_an_existing_file_is_not_overwritten(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("theirs")
    with pytest.raises(UserError, match="exists"):
        print_comparison([finished.path, finished.path], tmp_path / "table.json")
    assert (tmp_path / "table.json").read_text() == "theirs"
    with pytest.raises(UserError, match="cannot be written"):
        print_comparison([finished.path, finished.path], tmp_path / "none" / "table.json")
    with pytest.raises(UserError, match="cannot be written"):
        print_comparison([finished.path, finished.path], tmp_path / "table.json" / "table.json")
