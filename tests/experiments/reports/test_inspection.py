"""`terry data inspect`: rows kept and dropped, the shape of the data, and the catalogue, by hand."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from terrycloth.client.events import Events
from terrycloth.experiments.cli import main
from terrycloth.experiments.datasets.dataset import Dataset, PublishedTest
from terrycloth.experiments.datasets.import_report import FileOrder, ImportReport
from terrycloth.experiments.reports.inspection import (
    attribute_table,
    print_dataset,
    quartiles,
    rows_table,
    shape_table,
    split_table,
    time_table,
)
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.times import DAY


@pytest.fixture
def dataset(catalogue: Catalogue, events: Events) -> Dataset:
    """Return the six towels and four devices of conftest.py as a data set."""
    report = ImportReport(
        "shop.csv",
        rows_read=9,
        rows_kept=6,
        rows_dropped={"no item": 2, "a weight of zero": 1},
        columns_kept=["customer", "sku"],
        columns_dropped=["comment"],
        columns_never_read={"mail": "looks like an e-mail address"},
        notes=["no weight column: every row has weight 1"],
    )
    return Dataset("csv", catalogue, events, report)


def rows(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_rows_read_are_rows_kept_and_dropped_by_reason(dataset: Dataset) -> None:
    assert rows(rows_table(dataset)) == [
        ["read", "9"],
        ["kept", "6"],
        ["dropped: no item", "2"],
        ["dropped: a weight of zero", "1"],
    ]


def test_the_shape_of_the_data(dataset: Dataset) -> None:
    """The histories have 3, 2, 0 and 1 events."""
    assert dict(rows(shape_table(dataset))) == {
        "devices": "4",
        "items": "6",
        "events": "6",
        "events per device: minimum, quartiles, maximum": "0 0 1 2 3",
    }


def test_quartiles_of_no_values() -> None:
    assert quartiles(np.empty(0, dtype=np.int64)) == "–"


# --- Time -------------------------------------------------------------------------------------------------


@pytest.fixture
def timed(dataset: Dataset) -> Dataset:
    """Return ten events over six days: shopper 3 is first seen after day 4, and eight events are before it.

    Shopper 0: t0 twice and t1 on day 0, t2 on day 4. 1: t0 on day 1, t1 on day 2, t0 on day 5. 2: nothing. 3:
    t0, t1 and t2 on day 4.
    """
    found = [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 2, 4), (1, 0, 1), (1, 1, 2), (1, 0, 5)]
    found += [(3, item, 4) for item in (0, 1, 2)]
    devices, items, days = np.array(found).T
    noon = days * DAY + DAY // 2
    report = replace(dataset.report, file_order=FileOrder(visits=2, ascending=1, by_chance=1 / 2))
    return replace(dataset, events=Events.from_columns(devices, items, noon, np.ones(10), 4), report=report)


def test_the_table_of_times(timed: Dataset) -> None:
    """There are six visits, two of several items; of three shoppers who bought from day 4 on, one was new."""
    assert dict(rows(time_table(timed))) == {
        "first and last day": "1970-01-01 to 1970-01-06",
        "days": "6",
        "visits": "6",
        "visits per device: minimum, quartiles, maximum": "1 1 2 2 3",
        "different items per visit: minimum, quartiles, maximum": "1 1 1 1 3",
        "shoppers with a visit of several items": "66.7%",
        "visits that the file lists in ascending order of item id": "50.0% (by chance 25.0%)",
        "buyers from 1970-01-05 on who had not bought before": "33.3%",
    }


def test_unknown_facts_about_times_are_left_out(timed: Dataset) -> None:
    without = replace(timed, report=replace(timed.report, file_order=None))
    assert not any("ascending" in name for name, _ in rows(time_table(without)))
    untimed = rows(time_table(replace(timed, times_known=False)))
    assert untimed == [["times", "none: each shopper's purchases are one visit"]]


def test_the_number_of_shoppers_that_each_split_would_test(timed: Dataset) -> None:
    """By date shopper 0 has a target (t2), and 1 buys only known items.

    By next visit 0 (t2) and 1 (t1) have.
    """
    found = {name: (shoppers, targets) for name, shoppers, targets, _ in rows(split_table(timed))}
    assert found == {
        "date, from 1970-01-05 on": ("1", "1"),
        "next-visit": ("2", "2"),
        "basket": ("2", "2"),
        "last-item": ("3", "3"),
    }
    assert "By next visit: the test is" in rows(split_table(timed))[1][3]


def test_an_impossible_split_has_its_reason(timed: Dataset) -> None:
    found = {name: rest for name, *rest in rows(split_table(replace(timed, times_known=False)))}
    assert found["date"] == ["–", "–", "--split date needs times, and csv has none: use --split last-item"]
    assert found["last-item"][:2] == ["3", "3"]
    one_day = replace(timed, events=replace(timed.events, times=timed.events.times % DAY))
    assert "nothing was bought before 1970-01-01" in rows(split_table(one_day))[0][3]


def test_a_published_test_is_counted_unchanged(timed: Dataset) -> None:
    published = PublishedTest(np.array([5, -1, 5, 5], dtype=np.int32), np.full((4, 99), 4, dtype=np.int32))
    with_test = replace(timed, times_known=False, published=published)
    assert rows(split_table(with_test))[-1][1:3] == ["3", "3"]


def test_a_shop_without_purchases_can_be_printed(timed: Dataset) -> None:
    nothing = replace(timed, events=timed.events.keep(np.zeros(10, dtype=bool)))
    print_dataset(nothing)


def test_the_command_takes_an_order_column_and_a_visit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.csv").write_text("user,sku,date,slip\nann,A,2024-01-01T10:00,1\nann,B,2024-01-02,1\n")
    (tmp_path / "items.csv").write_text("sku,title\nA,x\nB,y\n")
    monkeypatch.chdir(tmp_path)

    def terry(*flags: str) -> tuple[int, str]:
        files = ["csv", "--path", "orders.csv", "--catalogue", "items.csv"]
        monkeypatch.setattr(sys, "argv", ["terry", "data", "inspect", *files, *flags])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    def visits(*flags: str) -> str:
        code, printed = terry(*flags)
        assert code == 0, printed
        return next(line for line in printed.splitlines() if "│ visits  " in line).split()[3]

    assert visits() == visits("--visit", "day") == "2"
    assert visits("--order-column", "slip") == "1"
    assert "columns kept: user, sku, date, slip" in terry("--order-column", "slip")[1]
    assert terry("--visit", "week") == (2, "terry: --visit week is unknown: use instant or day\n")
    code, printed = terry("--order-column", "till")
    assert (code, printed.count("\n")) == (2, 1)
    assert "no column 'till' for --order-column: it has user, sku, date, slip" in printed


def test_the_import_report_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.csv").write_text("user,sku,date\nann,A,2024-01-01\nann,Z,2024-01-02\n")
    (tmp_path / "items.csv").write_text("sku,title\nA,x\nB,y\n")
    monkeypatch.chdir(tmp_path)
    flags = [
        "csv",
        "--path",
        "orders.csv",
        "--catalogue",
        "items.csv",
        "--unknown-items",
        "drop",
        "--out",
        "report",
    ]
    monkeypatch.setattr(sys, "argv", ["terry", "data", "inspect", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr()
    account = json.loads((tmp_path / "report" / "import.json").read_text())
    assert account["rows_dropped"] == {"an item that the catalogue lacks": 1}
    assert (tmp_path / "report" / "unknown-items.csv").read_text() == "item,rows\nZ,1\n"


# --- The catalogue ----------------------------------------------------------------------------------------


def test_the_attributes_of_the_catalogue(dataset: Dataset) -> None:
    (colour, values, known, common), composition, size = rows(attribute_table(dataset))
    assert (colour, values, known) == ("colour", "2", "83%")
    assert set(common.split(", ")) == {"sand", "moss"}
    assert composition == ["composition", "2", "83%", "cotton, linen"]
    assert size[:3] == ["size", "2", "67%"]


def test_everything_is_printed(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    print_dataset(dataset)
    text = capsys.readouterr().out
    for printed in (
        "shop.csv",
        "columns kept: customer, sku",
        "columns dropped: comment",
        "column never read: mail (looks like an e-mail address)",
        "no weight column: every row has weight 1",
        "first and last day",
        "next-visit",
        "composition",
    ):
        assert printed in text


def test_a_shop_without_attributes_can_be_printed(dataset: Dataset) -> None:
    bare = Catalogue(dataset.catalogue.table[["item", "title"]])
    console = Console(width=100)
    with console.capture() as printed:
        console.print(attribute_table(Dataset("csv", bare, dataset.events, dataset.report)))
    assert "catalogue" in printed.get()
