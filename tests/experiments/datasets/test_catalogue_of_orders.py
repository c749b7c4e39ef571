"""A catalogue derived from the order lines: the items of kept rows, each with its most frequent title."""

from pathlib import Path

import pytest

from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.models.errors import UserError

HEADER = "customer,sku,description,date\n"


def read(folder: Path, orders: str, **options: str) -> Dataset:
    """Import orders without a catalogue."""
    (folder / "orders.csv").write_text(orders)
    return load("csv", DataOptions(path=folder / "orders.csv", **options))  # type: ignore[arg-type]


def titles(dataset: Dataset) -> dict[str, str]:
    """Return the title of each item."""
    return dict(dataset.catalogue.table[["item", "title"]].itertuples(index=False))


def test_each_item_has_its_most_frequent_title_or_the_first_of_equals(tmp_path: Path) -> None:
    dataset = read(
        tmp_path,
        HEADER
        + "1,B,mat,2024-01-01\n2,A,red towel,2024-01-01\n3,A,towel,2024-01-02\n4,A,towel,2024-01-03\n"
        + "5,C,zinc tub,2024-01-01\n6,C,a tub,2024-01-01\n7,D,,2024-01-01\n",
    )
    assert titles(dataset) == {"A": "towel", "B": "mat", "C": "a tub", "D": "D"}
    assert dataset.catalogue.attributes == []
    assert dataset.report.columns_used["title"] == "description"


def test_the_catalogue_counts_as_public_and_the_report_says_so(tmp_path: Path) -> None:
    dataset = read(tmp_path, HEADER + "1,B,mat,2024-01-01\n")
    assert dataset.catalogue_from_events
    assert any("derived from the order lines" in note for note in dataset.report.notes)


def test_only_kept_rows_make_items(tmp_path: Path) -> None:
    dataset = read(tmp_path, HEADER + "1,B,mat,2024-01-01\n,A,towel of nobody,2024-01-01\n")
    assert titles(dataset) == {"B": "mat"}


def test_shuffled_rows_give_the_same_catalogue(tmp_path: Path) -> None:
    rows = [
        f"{number},{'AB'[number % 2]},{'xy'[number % 3 % 2]},2024-01-0{1 + number % 5}\n"
        for number in range(9)
    ]
    assert titles(read(tmp_path, HEADER + "".join(rows))) == titles(
        read(tmp_path, HEADER + "".join(rows[::-1]))
    )


def test_a_column_called_name_is_no_title_unless_chosen(tmp_path: Path) -> None:
    orders = "customer id,sku,name,date\n1,A,Ann Smith,2024-01-01\n"
    assert titles(read(tmp_path, orders)) == {"A": "A"}
    assert titles(read(tmp_path, orders.replace("name", "label"), title_column="label")) == {"A": "Ann Smith"}


def test_the_item_column_is_not_also_the_title_column(tmp_path: Path) -> None:
    orders = "customer,description,date\n1,mat,2024-01-01\n"
    dataset = read(tmp_path, orders, item_column="description")
    assert titles(dataset) == {"mat": "mat"}
    assert dataset.report.columns_kept == ["customer", "description", "date"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("labels", "no column 'labels' for --title-column"),
        ("email", "looks like an e-mail address: name another"),
    ],
)
def test_a_title_column_that_cannot_be_used_is_refused(tmp_path: Path, column: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, "customer,sku,email,date\n1,A,a@x.org,2024-01-01\n", title_column=column)
