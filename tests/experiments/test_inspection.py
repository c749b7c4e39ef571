"""`terry data inspect`: what was kept, what was not, and what the catalogue says, by hand."""

import pytest
from rich.console import Console
from rich.table import Table

from client.events import Events
from experiments.datasets.dataset import Dataset, ImportReport
from experiments.inspection import attribute_table, print_dataset, rows_table, shape_table
from models.catalogue import Catalogue


@pytest.fixture
def dataset(catalogue: Catalogue, events: Events) -> Dataset:
    """The six towels and four devices of conftest."""
    report = ImportReport(
        "shop.csv",
        rows_read=9,
        rows_kept=6,
        rows_dropped={"no item": 2, "a weight of zero": 1},
        columns_kept=["customer", "sku"],
        columns_dropped=["comment"],
        columns_never_read={"mail": "looks like an e-mail address"},
        notes=["no weight column: every row weighs 1"],
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


def test_the_shape(dataset: Dataset) -> None:
    """Histories of 3, 2, 0 and 1; t1 of the first and t3 of the second are held out, and one row is later."""
    assert dict(rows(shape_table(dataset))) == {
        "devices": "4",
        "items": "6",
        "events": "6",
        "events a device: least, quartiles, most": "0 0 1 2 3",
        "devices with an item held out": "2",
        "later events left out of training": "1",
    }


def test_the_catalogues_attributes(dataset: Dataset) -> None:
    (colour, values, known, common), composition, size = rows(attribute_table(dataset))
    assert (colour, values, known) == ("colour", "2", "83%")
    assert set(common.split(", ")) == {"sand", "moss"}
    assert composition == ["composition", "2", "83%", "cotton, linen"]
    assert size[:3] == ["size", "2", "67%"]


def test_everything_is_printed(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    print_dataset(dataset)
    text = capsys.readouterr().out
    for said in (
        "shop.csv",
        "columns kept: customer, sku",
        "columns dropped: comment",
        "column never read: mail (looks like an e-mail address)",
        "no weight column: every row weighs 1",
        "composition",
    ):
        assert said in text


def test_a_shop_without_attributes_can_be_printed(dataset: Dataset) -> None:
    bare = Catalogue(dataset.catalogue.table[["item", "title"]])
    console = Console(width=100)
    with console.capture() as printed:
        console.print(attribute_table(Dataset("csv", bare, dataset.events, dataset.report)))
    assert "catalogue" in printed.get()
