"""`terry data check` describes an import, as text and as JSON."""

import json
from pathlib import Path

import pytest

from terrycloth.experiments.assessment.check_data import print_check
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset


@pytest.fixture
def orders(tmp_path: Path) -> Dataset:
    """Return orders of two shoppers, of whom only one bought item B, and a row without a shopper."""
    rows = "1,A,2024-01-01\n2,A,2024-01-01\n2,B,2024-01-02\n,B,2024-01-02\n"
    (tmp_path / "orders.csv").write_text("customer id,sku,date\n" + rows)
    return load("csv", DataOptions(path=tmp_path / "orders.csv"))


def test_the_description_as_json(orders: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    print_check(orders, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["devices"], found["items"], found["events"]) == (2, 2, 3)
    assert found["import"]["rows_dropped"] == {"no shopper": 1}
    assert found["import"]["columns_used"] == {"shopper": "customer id", "item": "sku", "time": "date"}
    # One shopper has two purchases, and no other shopper has both.
    assert found["identifying"]["singled_out"]["2"] == 1.0


def test_the_description_as_text(orders: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    print_check(orders, as_json=False)
    printed = capsys.readouterr().out
    assert "columns used: shopper customer id, item sku, time date" in printed
    assert "100.0 of 100 shoppers are singled out by 2 of their purchases (item and day)." in printed
