"""The Python interface gives runs and frontiers as data frames."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import terrycloth
from terrycloth.experiments import api

SMALL: dict[str, Any] = {"devices": 60, "rounds": 2, "central": False, "ceiling": False, "seed": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> terrycloth.Run:
    out = tmp_path_factory.mktemp("api") / "run"
    return terrycloth.simulate(out=out, unit="shopper", trust="central", epsilon=8.0, **SMALL)


def test_a_run_prints_nothing_and_equals_its_folder(run, capfd):
    assert capfd.readouterr().out == ""
    kept = json.loads((run.path / "result.json").read_text())
    assert run.accuracy.loc["attributes", "hr@10"] == kept["metrics"]["full"]["hr@10"]
    assert set(run.accuracy.index) == {"attributes", *run.result.baselines.found}
    assert run.rounds["round"].tolist() == [1, 2]
    assert run.rounds["hr@10"].iloc[-1] == pytest.approx(kept["metrics"]["full"]["hr@10"], abs=1e-6)
    assert run.promise == run.result.promise.sentence()
    assert run.config.epsilon is None, "a resolved run keeps the noise in place of ε"
    assert len(run.catalogue) == kept["data"]["items"]


def test_a_list_has_reasons_that_add_up_to_the_score(run):
    table = run.recommend(device=3, top=4)
    assert table["rank"].tolist() == [1, 2, 3, 4]
    for _, row in table.iterrows():
        assert sum(row["reasons"].values()) == pytest.approx(row["score"], abs=1e-5)


def test_load_run_loads_a_finished_run(run):
    assert terrycloth.load_run(str(run.path)).result == run.result
    with pytest.raises(terrycloth.UserError, match="no finished run"):
        terrycloth.load_run(run.path / "devices")


def test_own_tables_are_written_to_private_files(tmp_path):
    orders = pd.DataFrame(
        {
            "customer": [f"c{n % 8}" for n in range(48)],
            "sku": [f"i{n * 7 % 12}" for n in range(48)],
            "date": pd.date_range("2024-01-01", periods=48, freq="D").astype(str),
        }
    )
    items = pd.DataFrame({"sku": [f"i{n}" for n in range(12)], "title": [f"towel {n}" for n in range(12)]})
    small = {**SMALL, "devices": None, "model": "mf"}
    run = terrycloth.simulate(orders, items, out=tmp_path / "own", unit="none", **small)
    assert (run.result.data.name, run.result.data.devices, run.result.data.items) == ("csv", 8, 12)
    data = tmp_path / "own-data"
    assert [oct(path.stat().st_mode & 0o777) for path in (data, data / "orders.parquet")] == [
        "0o700",
        "0o600",
    ]
    again = terrycloth.simulate(orders, out=tmp_path / "orders-alone", unit="none", **small)
    assert again.result.data.items == 12, "the items are those of the orders"
    with pytest.raises(terrycloth.UserError, match="pass orders too"):
        terrycloth.simulate(catalogue=items, unit="none")


def test_a_run_that_is_refused_leaves_no_table_of_orders(tmp_path):
    orders = pd.DataFrame({"customer": ["a", "b"], "sku": ["x", "y"], "date": ["2024-01-01", "2024-01-02"]})
    for settings in ({"epsilom": 8.0}, {"unit": "none", "rounds": 1}):
        with pytest.raises(terrycloth.UserError):
            terrycloth.simulate(orders, out=tmp_path / "own", **settings)
        assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_reported_in_one_line():
    with pytest.raises(terrycloth.UserError, match="there is no setting 'epsilom'"):
        terrycloth.simulate(epsilom=8.0)
    with pytest.raises(terrycloth.UserError, match="--unit basket"):
        terrycloth.simulate(unit="basket")


@pytest.mark.slow
def test_a_frontier_has_a_table_and_a_page(tmp_path):
    small = {**SMALL, "devices": 40, "model": "mf"}
    del small["seed"]
    promise = {"unit": "shopper", "trust": "central", "epsilon": (1.0, math.inf)}
    found = terrycloth.frontier(out=tmp_path / "f", seeds=1, **promise, **small)
    assert found.table["epsilon"].tolist() == [1.0, math.inf]
    assert found.page.exists()
    assert api.load_frontier(found.path).table.equals(found.table)
    with pytest.raises(terrycloth.UserError, match="no finished frontier"):
        api.load_frontier(tmp_path)


def test_no_heavy_library_is_imported_before_it_is_used(tmp_path):
    tell = "import sys, terrycloth; print({'torch', 'flwr', 'pandas'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", tell], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert ended.stdout == "set()\n"
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        terrycloth.simulat  # noqa: B018
    assert Path(terrycloth.__file__).name == "__init__.py"
