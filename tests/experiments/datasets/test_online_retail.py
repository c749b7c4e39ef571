"""Online Retail: how it is cleaned, its attributes, and the published counts."""

from pathlib import Path

import pandas as pd
import pytest

from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.online_retail import KINDS, TEXTILE_KINDS, describe, in_category
from terrycloth.models.errors import UserError

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
ROWS = """1,85123A,RED TEA TOWEL,6,12/31/2010 8:26,2.55,17850,UK
1,85123a,RED TEA TOWEL,2,12/31/2010 8:26,2.95,17850,UK
1,85123A,OLD WORDING,2,12/31/2010 8:26,2.75,17850,UK
2,22000,GLASS JAR LARGE,1,1/2/2011 9:00,1.25,17851,UK
2,POST,POSTAGE,1,1/2/2011 9:00,18,17851,UK
2,22000,,1,1/2/2011 9:00,1.25,17851,UK
C3,22000,GLASS JAR LARGE,-1,1/2/2011 9:00,1.25,17851,UK
4,22000,GLASS JAR LARGE,-1,1/2/2011 9:00,1.25,17851,UK
5,22000,GLASS JAR LARGE,1,1/2/2011 9:00,1.25,,UK
"""


def read(path: Path, category: str | None = None) -> Dataset:
    return load("online-retail", DataOptions(path=path, category=category))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "online_retail.csv").write_text(HEADER + ROWS)
    return tmp_path


def check(dataset: Dataset) -> None:
    assert dataset.events.offsets.tolist() == [0, 3, 4]
    assert dataset.events.items.tolist() == [1, 1, 1, 0]
    assert dataset.events.weights.tolist() == [2, 2, 6, 1]  # within a visit by item, then by weight
    assert dataset.events.times.tolist() == [1293783960] * 3 + [1293958800]
    assert dataset.catalogue.table[["item", "title"]].values.tolist() == [
        ["22000", "GLASS JAR LARGE"],
        ["85123A", "RED TEA TOWEL"],
    ]


def test_rows_are_dropped_by_reason_and_the_rest_are_events(folder):
    dataset = read(folder)
    check(dataset)
    assert (dataset.report.rows_read, dataset.report.rows_kept) == (9, 4)
    assert dataset.report.rows_dropped == {
        "no customer": 1,
        "cancelled invoice (C…)": 1,
        "quantity below 1": 1,
        "not a product (postage, charges, corrections)": 1,
        "no description": 1,
    }
    assert dataset.report.columns_dropped == ["Country"]
    assert "the catalogue is derived from the order lines and treated as public" in dataset.report.notes
    assert dataset.catalogue_from_events
    assert "colour is known for 50.0% of the items" in dataset.report.notes


def test_decimal_commas_give_a_price_band(folder):
    lines = [[cell.strip() for cell in line.split(",")] for line in (HEADER + ROWS).splitlines()]
    text = "\n".join(";".join(cell.replace(".", ",") for cell in line) for line in lines)
    (folder / "online_retail.csv").write_text(text)
    dataset = read(folder)
    check(dataset)
    assert dataset.catalogue.table["price band"].tolist() == [("1–3",), ("1–3",)]  # from 1,25 and 2,75


def test_unreadable_times_are_reported(folder):
    text = (HEADER + ROWS).replace("1/2/2011 9:00,1.25,17851", "week 1,1.25,17851", 1)
    (folder / "online_retail.csv").write_text(text)
    assert any(
        "'InvoiceDate' that are not understood, such as 'week 1' (line 5)" in line
        for line in read(folder).report.sentences()
    )
    (folder / "online_retail.csv").write_text(HEADER + "1,85123A,RED TEA TOWEL,6,week 1,2.55,17850,UK\n")
    with pytest.raises(
        UserError, match=r"not understood, such as 'week 1' \(line 2\): write them as 2024-05-31"
    ):
        read(folder)


def test_an_invoice_is_a_visit(folder):
    """Invoice 7 spans two minutes; invoice 8 has the time of its second line."""
    rows = "7,22000,GLASS JAR LARGE,1,1/3/2011 9:01,1.25,17850,UK\n"
    rows += "7,85123A,RED TEA TOWEL,1,1/3/2011 9:00,2,17850,UK\n"
    rows += "8,22000,GLASS JAR LARGE,1,1/3/2011 9:01,1.25,17850,UK\n"
    (folder / "online_retail.csv").write_text(HEADER + ROWS + rows)
    events = read(folder).events.span(0, 1)
    assert (events.times[3:] - events.times[3]).tolist() == [0, 0, 60]
    assert events.visits.tolist() == [0, 0, 0, 1, 1, 2]
    assert any(note.startswith("each order is a visit") for note in read(folder).report.notes)


def test_a_category_drops_the_other_rows_with_a_reason(folder):
    dataset = read(folder, "textiles")
    assert dataset.catalogue.table["item"].tolist() == ["85123A"]
    assert dataset.report.rows_dropped["not in the category textiles"] == 1
    assert dataset.events.num_devices == 1
    assert read(folder, "bottle").catalogue.table["item"].tolist() == ["22000"]
    with pytest.raises(UserError, match=r"choose one of textiles, sewing, tea towel, .*bottle"):
        read(folder, "cars")
    with pytest.raises(UserError, match="no usable row"):
        read(folder, "clock")


def test_excel_and_the_second_release_with_its_overlapping_sheets(folder):
    pytest.importorskip("openpyxl")
    table = pd.read_csv(folder / "online_retail.csv", dtype={"InvoiceNo": str, "StockCode": str})
    table["InvoiceDate"] = pd.to_datetime(table["InvoiceDate"], format="%m/%d/%Y %H:%M")
    second = table.rename(columns={"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"})
    with pd.ExcelWriter(folder / "online_retail_II.xlsx") as book:
        second[:3].to_excel(book, sheet_name="2009", index=False)
        second.to_excel(book, sheet_name="2010", index=False)
    dataset = read(folder)  # Excel takes precedence over CSV
    check(dataset)
    assert dataset.report.rows_read == 12
    assert dataset.report.rows_dropped["also in an earlier sheet"] == 3


def test_a_missing_excel_reader_is_reported_with_what_to_install(tmp_path, monkeypatch):
    def absent(*_, **__):
        raise ImportError

    (tmp_path / "Online Retail.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match="not an Excel file"):
        read(tmp_path)
    monkeypatch.setattr(pd, "read_excel", absent)
    with pytest.raises(UserError, match=r'pip install "terrycloth\[excel\]"'):
        read(tmp_path)


def test_bad_folders_and_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.parquet"):
        read(tmp_path)
    (tmp_path / "a.csv").write_text("InvoiceNo,StockCode\n1,2\n")
    with pytest.raises(UserError, match=r"lacks .*description, quantity"):
        read(tmp_path)
    (tmp_path / "b.csv").write_text(HEADER + ROWS)
    with pytest.raises(UserError, match=r"holds 2 \.csv files"):
        read(tmp_path)
    check(read(tmp_path / "b.csv"))


def test_rows_of_another_shape_are_counted(folder):
    with (folder / "online_retail.csv").open("a") as file:
        file.write("6,22000,GLASS JAR, LARGE,1,1/2/2011 9:00,1.25,17851,UK\n")
    report = read(folder).report
    assert report.rows_read == report.rows_kept + sum(report.rows_dropped.values()) == 10


@pytest.mark.parametrize(
    ("title", "colour", "material", "size", "kind"),
    [
        ("RED/CREAM STRIPE CUSHION COVER", ("red", "cream"), (), (), ("cushion",)),
        ("PIN CUSHION BABUSHKA PINK", ("pink",), (), (), ("sewing",)),
        ("SET OF 2 TEA TOWELS PING MICROWAVE", (), (), (), ("tea towel",)),
        ("CREAM SLICE FLANNEL PINK SPOT", ("pink",), (), (), ("towel",)),
        ("LARGE WOODEN SIGN, WHITE METAL", ("white",), ("metal", "wood"), ("large",), ("sign",)),
        ("WHITE SKULL HOT WATER BOTTLE", ("white",), (), (), ("hot water bottle",)),
        ("BRED SCARED", (), (), (), ()),
    ],
)
def test_attributes_are_whole_words_of_the_description(title, colour, material, size, kind):
    catalogue = describe(pd.Series([title], index=["1"]), pd.Series([2.0], index=["1"]))
    assert catalogue.table.iloc[0].tolist() == ["1", title, colour, material, size, kind, ("2",)]


def test_the_category_textiles_excludes_paper_and_wood():
    titles = pd.Series(["PAPER BUNTING RETROSPOT", "SPOTTY BUNTING", "WOODEN BUNTING", "RED MUG"])
    assert in_category(titles, "textiles").tolist() == [False, True, False, False]
    assert in_category(titles, "bunting").tolist() == [True, True, True, False]
    assert set(TEXTILE_KINDS) <= set(KINDS)


@pytest.mark.slow
@pytest.mark.realdata
def test_the_counts_of_the_real_file_are_those_published():
    path = Path(__file__).parents[4] / "shared" / "data" / "online-retail"
    if not path.exists():
        pytest.skip(f"needs {path.name} in the shared data folder beside the project")
    dataset = read(path)
    dropped = dataset.report.rows_dropped
    assert dataset.report.rows_read == 541_909
    first_three = ("no customer", "cancelled invoice (C…)", "quantity below 1")
    assert 541_909 - sum(dropped.get(reason, 0) for reason in first_three) == 397_924
    assert dropped["not a product (postage, charges, corrections)"] == 1_554
    # Of 4,339 customers four bought only postage and the like; of 3,665 codes six are no products.
    assert (dataset.events.num_devices, len(dataset.catalogue)) == (4_335, 3_659)
    order = dataset.report.file_order
    assert (order.visits, order.ascending, round(order.by_chance)) == (17_015, 557, 481)
    shares = {
        name: (dataset.catalogue.table[name].str.len() > 0).mean() for name in dataset.catalogue.attributes
    }
    assert 0.35 < shares["colour"] < 0.39
    assert shares["kind"] > 0.75
    assert 180 < len(read(path, "textiles").catalogue) < 240
