"""A shop's catalogue file: its items, its titles, and which columns become attributes with which values."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.experiments.datasets.catalogue_file import attribute_values, quantile_bins, read_catalogue
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.tables import open_table
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError


def read(folder: Path, items: str, item_column: str = "sku") -> tuple[Catalogue, list[str]]:
    """Return the catalogue, and the notes on what was left out."""
    path = folder / "items.csv"
    path.write_text(items)
    report = ImportReport("a test")
    return read_catalogue(open_table(path), item_column, report), report.sentences()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("sku,title\nA,x\nA,y\n", "holds item 'A' more than once"),
        ("sku,title\nA,x\n,y\n", "no item in line 3"),
        ("sku,title\nA,x\nB,y,z\n", "another number of cells than the header in line 3"),
        ("title,colour\nx,red\n", "has no item column"),
    ],
)
def test_bad_catalogues_are_refused(tmp_path, items, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, items)


def test_the_item_column_may_have_the_name_that_it_has_in_the_orders(tmp_path):
    catalogue, _ = read(tmp_path, "towel,item,name\nA,g1,x\nB,g1,y\n", item_column="towel")
    assert catalogue.table.values.tolist() == [["A", "x", ("g1",)], ["B", "y", ("g1",)]]
    assert catalogue.attributes == ["item 2"]


def test_columns_with_a_unique_value_for_each_item_are_left_out_and_listed(tmp_path):
    items = "sku,title,url,ean\nA,x,u/1,4000000000017\nB,y,u/2,4000000000024\nC,z,u/3,\n"
    catalogue, notes = read(tmp_path, items)
    assert catalogue.attributes == []
    assert "left out of the catalogue, as every item has another value: url, ean" in notes


def test_without_titles_ids_are_used_as_titles(tmp_path):
    assert read(tmp_path, "sku\nA\nB\nC\n")[0].table["title"].tolist() == ["A", "B", "C"]


def prices(*odd: str) -> str:
    return "sku,title,price,colour\n" + "".join(
        f'S{number},x,"{price}",red\n' for number, price in enumerate([*map(str, range(100, 140)), *odd])
    )


def test_a_few_cells_that_are_no_numbers_do_not_turn_amounts_into_categories(tmp_path):
    """Of 43 prices two are no numbers; they are counted, reported with their lines, and left empty."""
    catalogue, notes = read(tmp_path, prices("-", "on request", "$1,200"))
    known = catalogue.table.set_index("item")["price"]
    assert known[["S0", "S40", "S41", "S42"]].tolist() == [("100–108",), (), (), ("132–1200",)]
    assert len(set(known) - {()}) == 5
    assert (
        "cells of 'price' in items.csv that are no numbers, and are left empty, such as '-', "
        "'on request': lines 42, 43" in notes
    )


def test_many_cells_that_are_no_numbers_make_categories(tmp_path):
    catalogue, notes = read(tmp_path, prices("S", "M", "L", "XL", "XL"))
    assert ("XL",) in catalogue.table["price"].tolist()
    assert not any("no numbers" in line for line in notes)


def test_the_decimal_mark_is_decided_once_for_all_columns(tmp_path):
    """1.200 alone would be read as 1.2; the weights show that a point separates thousands."""
    rows = "".join(f"S{n};x;1.{200 + n};{n},5\n" for n in range(30))
    catalogue, _ = read(tmp_path, f"sku;title;price;weight\n{rows}")
    assert catalogue.table["price"][0] == ("1200–1206",)
    catalogue, _ = read(tmp_path, f"sku;title;price;weight\n{rows}".replace(",5", "").replace(";", ","))
    assert catalogue.table["price"][0] == ("1.2–1.206",)


def test_the_title_column_can_be_named(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("sku,title,Shown As\nA,x,Bath towel\nB,y,None\n")
    named = read_catalogue(
        open_table(path), "sku", ImportReport("a test"), DataOptions(title_column="shown as")
    )
    assert named.table["title"].tolist() == ["Bath towel", "None"]
    with pytest.raises(UserError, match="no column 'called' for --title-column: it has sku, title, Shown As"):
        read_catalogue(open_table(path), "sku", ImportReport("a test"), DataOptions(title_column="called"))


def test_values_of_an_attribute():
    cells = pd.Series(["red|blue", "red; green;red", None, "cotton"])
    assert attribute_values(pd.concat([cells, cells[:1]]), "colour") == [
        ("red", "blue"),
        ("red", "green"),
        (),
        ("cotton",),
        ("red", "blue"),
    ]


def test_parquet_lists_are_several_values(tmp_path):
    frame = pd.DataFrame({"item": ["A", "B", "C"], "colour": [["red", "blue"], ["red"], []]})
    frame.to_parquet(tmp_path / "items.parquet")
    catalogue = read_catalogue(open_table(tmp_path / "items.parquet"), "item", ImportReport("a test"))
    assert catalogue.table["colour"].tolist() == [("red", "blue"), ("red",), ()]


def test_many_different_numbers_are_binned_but_identifiers_are_not():
    numbers = pd.Series(range(300, 801, 5)).astype(str)
    assert set(attribute_values(numbers, "gsm") or []) == {
        ("300–400",),
        ("400–500",),
        ("500–600",),
        ("600–700",),
        ("700–800",),
    }
    assert attribute_values(numbers, "product id") is None
    assert attribute_values(numbers.astype(int) + 40_000_000, "e") is None
    few = pd.Series(["50", "70"] * 30)
    assert set(attribute_values(few, "length") or []) == {("50",), ("70",)}


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda number: round(number, 2)) | st.none(), min_size=1, max_size=80)
)
def test_a_binned_number_lies_within_its_label(numbers):
    bins = quantile_bins(pd.Series(numbers, dtype="float64"))
    assert len(set(bins) - {()}) <= 5
    for number, label in zip(numbers, bins, strict=True):
        if number is None:
            assert label == ()
        else:
            low, _, high = re.fullmatch(r"(-?[\d.]+)(–(-?[\d.]+))?", label[0]).groups()  # type: ignore[union-attr]
            assert float(low) <= number <= float(high or low)


def test_bins_hold_about_as_many_each():
    counts = pd.Series(quantile_bins(pd.Series(np.arange(1000.0)))).value_counts()
    assert counts.tolist() == [200] * 5


def test_bins_of_few_distinct_numbers():
    assert set(quantile_bins(pd.Series([0.0] * 9 + [1.0] * 4))) == {("0–1",)}
    # By interpolation the quantile between the zeros and the ones is 8.9e-16.
    assert set(quantile_bins(pd.Series([-58.8] + [0.0] * 6 + [1.0] * 4))) == {("-60–0",), ("0–10",)}
