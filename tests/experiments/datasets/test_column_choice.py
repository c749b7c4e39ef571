"""Which column is chosen for which part: ids before names; ties are errors, and line numbers are no items."""

from pathlib import Path

import pytest

from terrycloth.experiments.datasets.column_choice import OrderColumns, choose_columns
from terrycloth.experiments.datasets.csv_file import CsvFormat
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.tables import TableFile
from terrycloth.models.errors import UserError
from tests.experiments.datasets.shop import import_files, purchases

ITEMS = "sku,title\nA,x\nB,y\n1,z\n2,z\n3,z\n"


def choose(header: str, catalogue: str = "", **options: str) -> OrderColumns:
    columns = header.split(",")
    table = TableFile(Path("orders.csv"), columns, CsvFormat(columns, ",", "utf-8", 1))
    return choose_columns(table, DataOptions(**options), ImportReport("a test"), catalogue.split(","))  # type: ignore[arg-type]


def chosen(header: str, catalogue: str = "", **options: str) -> dict[str, str]:
    """Return each part, and the header of its column."""
    columns = choose(header, catalogue, **options)
    return {part: header.split(",")[place] for part, place in columns.parts.items()}


@pytest.mark.parametrize(
    ("header", "part", "column"),
    [
        ("Customer ID,Customer,SKU,Order Date", "shopper", "Customer ID"),
        ("Customer,Customer ID,SKU,Order Date", "shopper", "Customer ID"),
        ("Visitor ID,User ID,SKU", "shopper", "User ID"),
        ("Kunde,Kundennummer,Artikelnummer", "shopper", "Kundennummer"),
        ("N° client,Référence,Quantité", "shopper", "N° client"),
        ("N° client,Référence,Quantité", "item", "Référence"),
        ("N° client,Référence,Quantité", "weight", "Quantité"),
        ("user,Item #,SKU", "item", "SKU"),
        ("user,Product,Product ID", "item", "Product ID"),
        ("user,EAN,SKU", "item", "SKU"),
        ("user,sku,Invoice Date,Order Date", "time", "Order Date"),
        ("user,sku,Date,Time", "time", "Date"),
        ("user,sku,Date,Time", "clock", "Time"),
        ("user,sku,Time", "time", "Time"),
        ("user,sku,Bestelldatum,Uhrzeit", "clock", "Uhrzeit"),
    ],
)
def test_the_best_column_is_chosen(header: str, part: str, column: str) -> None:
    assert chosen(header)[part] == column


def test_no_clock_column_is_chosen_beside_a_named_time_column() -> None:
    assert "clock" not in chosen("user,sku,Date,Time", time_column="Date")


@pytest.mark.parametrize(
    ("header", "part", "listed"),
    [
        ("Customer ID,User ID,sku", "shopper", "'Customer ID' and 'User ID'"),
        ("customer,user,sku", "shopper", "'customer' and 'user'"),
        ("user,SKU,Product ID", "item", "'SKU' and 'Product ID'"),
        ("user,sku,Date,date", "time", "'Date' and 'date'"),
    ],
)
def test_a_tie_is_an_error_that_names_the_flag(header: str, part: str, listed: str) -> None:
    with pytest.raises(UserError, match=f"may be the {part}, {listed}: choose with --{part}-column$"):
        choose(header)


def test_a_flag_resolves_a_tie() -> None:
    assert chosen("Customer ID,User ID,sku", shopper_column="user id")["shopper"] == "User ID"


def test_the_item_column_that_the_catalogue_also_has_is_chosen() -> None:
    assert chosen("user,SKU,Product ID", "product id,title")["item"] == "Product ID"
    assert chosen("user,SKU,EAN", "ean,title")["item"] == "EAN"
    with pytest.raises(UserError, match="--item-column"):
        choose("user,SKU,Product ID", "sku,product id")


def test_the_chosen_columns_are_reported(tmp_path: Path) -> None:
    orders = "Customer ID,Customer,SKU,Order Date\n1,Ann Lee,A,2024-05-01\n2,Ann Lee,B,2024-05-01\n"
    dataset = import_files(tmp_path, orders, ITEMS)
    assert dataset.events.num_devices == 2  # two shoppers with the same name
    assert "columns used: shopper Customer ID, item SKU, time Order Date" in dataset.report.sentences()
    assert dataset.report.problems == []


def test_using_names_in_place_of_ids_is_reported(tmp_path: Path) -> None:
    orders = "Customer,SKU\nAnn Lee,A\nBob Lee,B\n"
    (problem,) = import_files(tmp_path, orders, ITEMS).report.problems
    assert "'Customer' looks like people's names: two people of one name are one shopper" in problem.what
    assert "Lee" not in problem.sentence()


COUNTED = (
    "user,order,Item #,date\nann,1,1,2024-05-01\nann,1,2,2024-05-01\nbob,2,1,2024-05-02\nbob,2,2,2024-05-02\n"
)


def test_line_numbers_within_orders_are_not_used_as_items(tmp_path: Path) -> None:
    message = (
        r"'Item #' of .* counts the lines of each order \(1, 2, 3 …\) and holds no items: .* --item-column"
    )
    with pytest.raises(UserError, match=message):
        import_files(tmp_path, COUNTED, ITEMS)
    with pytest.raises(UserError, match=message):  # by shopper and time, without order ids
        import_files(tmp_path, COUNTED.replace("order", "till"), ITEMS)
    # If the user chooses it.
    assert len(purchases(import_files(tmp_path, COUNTED, ITEMS, item_column="Item #"))) == 4
    assert len(purchases(import_files(tmp_path, COUNTED.replace("bob,2,2", "bob,2,3"), ITEMS))) == 4


@pytest.mark.parametrize(
    ("header", "reason"),
    [("Vorname", "name"), ("Nom", "name"), ("Straße", "address"), ("Code postal", "address"),
     ("Telefon", "telephone"),
     ("Geburtsdatum", "birth"), ("Courriel", "e-mail"), ("device id", "network")],
)  # fmt: skip
def test_private_headers_of_three_languages_are_never_read(tmp_path: Path, header: str, reason: str) -> None:
    report = import_files(tmp_path, f"user,sku,{header}\nann,A,secret\n", ITEMS).report
    assert reason in report.columns_never_read[header]
