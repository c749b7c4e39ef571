"""The import of a shop's own orders: what is read, what is left out, and what may never be printed."""

import hashlib
import pickle
import secrets
from pathlib import Path

import pandas as pd
import pyarrow.csv as arrow_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.models.errors import UserError

ITEMS = "sku,title,colour\nA,Bath towel,red\nB,Hand towel,red|blue\nC,Bath mat,\n"
ORDERS = "customer,sku,date,quantity\nann,A,2024-01-02,1\nbob,B,2024-01-01,2\nann,C,2024-01-01,3\n"


def read(
    folder: Path, orders: str | bytes = ORDERS, items: str | bytes = ITEMS, **options: object
) -> Dataset:
    for name, text in (("orders.csv", orders), ("items.csv", items)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return load(
        "csv",
        DataOptions(path=folder / "orders.csv", catalogue=folder / "items.csv", **options),  # type: ignore[arg-type]
    )


def events(dataset: Dataset) -> list[tuple[int, str, float]]:
    names = dataset.catalogue.table["item"].to_numpy()
    held = dataset.events
    return list(zip(held.devices.tolist(), names[held.items].tolist(), held.weights.tolist(), strict=True))


# --- What is read -----------------------------------------------------------------------------------------


def test_devices_are_ordered_by_shopper_id_and_events_by_time(tmp_path):
    dataset = read(tmp_path)
    assert events(dataset) == [(0, "C", 3), (0, "A", 1), (1, "B", 2)]
    assert dataset.events.times.tolist() == [1704067200, 1704153600, 1704067200]
    assert dataset.catalogue.table.values.tolist() == [
        ["A", "Bath towel", ("red",)],
        ["B", "Hand towel", ("red", "blue")],
        ["C", "Bath mat", ()],
    ]
    assert (dataset.report.rows_read, dataset.report.rows_kept) == (3, 3)
    assert dataset.report.columns_kept == ["customer", "sku", "date", "quantity"]


def test_a_shopper_with_only_dropped_rows_has_no_device(tmp_path):
    dataset = read(tmp_path, "user,item,qty\nann,A,0\ncid,C,1\nbob,B,1\ncid,A,1\n")
    assert events(dataset) == [(0, "B", 1), (1, "A", 1), (1, "C", 1)]


def test_shopper_and_item_ids_are_ordered_as_text(tmp_path):
    """The order of rows in the file, for shoppers and items, is neither numerical nor alphabetical."""
    orders = "user,item,date\n9,20,2024-01-01\n100,3,2024-01-01\n20,100,2024-01-01\n"
    dataset = read(tmp_path, orders, "sku,title\n20,x\n3,y\n100,z\n")
    assert dataset.catalogue.table["item"].tolist() == ["100", "20", "3"]
    assert events(dataset) == [(0, "3", 1), (1, "100", 1), (2, "20", 1)]


def test_empty_lines_before_the_header(tmp_path):
    dataset = read(tmp_path, "\n\nuser,item\nann,A\n,A\n")
    assert events(dataset) == [(0, "A", 1)]
    assert dataset.report.rows_dropped_where == {"no shopper": "line 5"}


def test_without_times_there_is_one_visit_and_without_weights_all_are_one(tmp_path):
    dataset = read(tmp_path, "user,item\nann,B\nann,A\n")
    assert events(dataset) == [(0, "A", 1), (0, "B", 1)]
    assert dataset.events.times.tolist() == [0, 0]
    assert not dataset.times_known
    assert dataset.report.file_order is None
    assert not dataset.catalogue_from_events, "it is a separate file"
    assert any("no time column" in note for note in dataset.report.notes)
    assert any("no weight column" in note for note in dataset.report.notes)


def test_parquet_is_recognised_by_its_content_and_whole_numbers_match_text(tmp_path):
    frame = pd.DataFrame({"customer": [7.0, None, 8.0], "item": [10, 10, 20], "date": ["2024-01-01"] * 3})
    frame.to_parquet(tmp_path / "orders.data")
    (tmp_path / "items.csv").write_text("item,title\n10,x\n20,y\n")
    dataset = load("csv", DataOptions(path=tmp_path / "orders.data", catalogue=tmp_path / "items.csv"))
    assert events(dataset) == [(0, "10", 1), (1, "20", 1)]
    assert dataset.report.rows_dropped_where == {"no shopper": "row 2"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters(tmp_path, delimiter):
    dataset = read(tmp_path, ORDERS.replace(",", delimiter), ITEMS.replace(",", delimiter))
    assert len(dataset.events) == 3


def test_a_decimal_comma_with_semicolons_between_cells(tmp_path):
    dataset = read(tmp_path, "user;item;qty\nann;A;1,5\n")
    assert dataset.events.weights.tolist() == [1.5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path, encoding):
    items = "sku,title\nA,Frottiertücher für 5 €\n".encode(encoding)
    orders = "user,sku\nmüller,A\n".encode(encoding)
    assert read(tmp_path, orders, items).catalogue.table["title"].tolist() == ["Frottiertücher für 5 €"]


def test_named_columns_take_precedence_over_usual_names(tmp_path):
    orders = "customer,who,item,what,qty,n\nann,1,A,B,1,5\n"
    dataset = read(tmp_path, orders, shopper_column="who", item_column="what", weight_column="n")
    assert events(dataset) == [(0, "B", 5)]
    assert dataset.report.columns_dropped == ["customer", "item", "qty"]


# --- Visits -----------------------------------------------------------------------------------------------

VISITS = """user,item,time,order id
ann,A,2024-01-01T23:00,7
ann,B,2024-01-02T01:00,7
ann,C,2024-01-02T09:00,8
ann,A,2024-01-02T10:00,
bob,A,2024-01-03T10:00,7
bob,B,2024-01-03T09:00,9
"""
NOON = 1704110400  # 2024-01-01T12:00


def hours(dataset: Dataset) -> list[tuple[int, str, float]]:
    """Return the device, item, and hours since noon of the first day, of each event."""
    names = dataset.catalogue.table["item"].to_numpy()[dataset.events.items]
    since = (dataset.events.times - NOON) / 3600
    return list(zip(dataset.events.devices.tolist(), names.tolist(), since.tolist(), strict=True))


def test_an_order_is_a_visit_at_its_first_line_and_a_line_without_order_is_another(tmp_path):
    """Bob's order 7 is another order than ann's."""
    dataset = read(tmp_path, VISITS)
    assert hours(dataset) == [
        (0, "A", 11),
        (0, "B", 11),
        (0, "C", 21),
        (0, "A", 22),
        (1, "B", 45),
        (1, "A", 46),
    ]
    assert dataset.events.visits.tolist() == [0, 0, 1, 2, 0, 1]
    assert dataset.report.columns_kept == ["user", "item", "time", "order id"]
    assert any(note.startswith("each order is a visit") for note in dataset.report.notes)


def test_without_orders_a_visit_is_an_instant_or_a_day(tmp_path):
    orders = VISITS.replace("order id", "till")
    assert [hour for _, _, hour in hours(read(tmp_path, orders))] == [11, 13, 21, 22, 45, 46]
    by_day = read(tmp_path, orders, visit="day")
    assert hours(by_day) == [
        (0, "A", -12),
        (0, "A", 12),
        (0, "B", 12),
        (0, "C", 12),
        (1, "A", 36),
        (1, "B", 36),
    ]
    assert "what a shopper bought on one day (UTC) is one visit" in by_day.report.notes


@pytest.mark.parametrize("options", [{}, {"order_column": "order id"}])
def test_an_order_id_takes_precedence_over_days_and_this_is_reported_once(tmp_path, options):
    dataset = read(tmp_path, VISITS, visit="day", **options)
    assert hours(dataset) == hours(read(tmp_path, VISITS))
    assert sum("--visit day" in note for note in dataset.report.notes) == 1


def test_orders_that_share_an_instant_are_one_visit(tmp_path):
    dataset = read(tmp_path, "user,item,time,order id\nann,A,2024-01-01,1\nann,B,2024-01-01,2\n")
    assert dataset.events.visits.tolist() == [0, 0]


def test_without_times_an_order_id_is_not_read(tmp_path):
    dataset = read(tmp_path, "user,item,order id\nann,A,1\nann,B,2\n")
    assert dataset.events.visits.tolist() == [0, 0]
    assert dataset.report.columns_kept == ["user", "item"]
    assert dataset.report.columns_dropped == ["order id"]
    assert any("'order id' is not read: without times" in note for note in dataset.report.notes)


def test_the_order_column_can_be_named(tmp_path):
    orders = VISITS.replace("order id", "till slip")
    dataset = read(tmp_path, orders, order_column="Till-Slip")
    assert hours(dataset) == hours(read(tmp_path, VISITS))
    assert dataset.report.columns_kept[-1] == "till slip"
    with pytest.raises(UserError, match="no column 'slip' for --order-column"):
        read(tmp_path, orders, order_column="slip")
    with pytest.raises(UserError, match="both the time and the order: name another with --order-column"):
        read(tmp_path, orders, order_column="time")


def test_a_column_named_for_another_part_is_no_order_column(tmp_path):
    dataset = read(tmp_path, "user,invoice,date\nann,A,2024-01-01\n", item_column="invoice")
    assert dataset.report.columns_kept == ["user", "invoice", "date"]


SHARED = "user,item,date,transaction\n" + "".join(
    f"u{number % 4},A,2024-01-0{number + 1},{'paid' if number % 2 else 'open'}\n" for number in range(8)
)


def test_a_column_that_is_only_named_like_order_ids_is_left_out(tmp_path):
    """A status occurs with several shoppers; used as an order id, it would join all orders of one shopper."""
    dataset = read(tmp_path, SHARED)
    assert dataset.events.visits.tolist() == [0, 1] * 4
    assert dataset.report.columns_dropped == ["transaction"]
    assert any("100% of the ids in the order column 'transaction'" in note for note in dataset.report.notes)
    named = read(tmp_path, SHARED, order_column="transaction")
    assert named.events.visits.tolist() == [0, 0] * 4
    assert any("check whether it holds orders" in note for note in named.report.notes)


def test_no_order_id_is_kept_or_printed(tmp_path):
    orders = VISITS.replace(",7", ",order77secret").replace(",8", ",order88secret")
    for options in ({}, {"order_column": "order id"}, {"visit": "day"}):
        dataset = read(tmp_path, orders, **options)
        assert b"secret" not in pickle.dumps(dataset)
        assert "secret" not in repr(dataset)


@pytest.mark.parametrize("bad", ["week", "Day"])
def test_a_visit_is_an_instant_or_a_day(tmp_path, bad):
    with pytest.raises(UserError, match=f"--visit {bad} is unknown: use instant or day"):
        read(tmp_path, visit=bad)


# --- Private columns --------------------------------------------------------------------------------------

PRIVATE = (
    "name,E-Mail,Phone,street,customer,sku,size\n"
    "SecretA,secretb@x.org,+4955secretc,Secretd 5,secrete,A,Secretf\n"
)


def test_private_columns_are_never_read(tmp_path, monkeypatch):
    asked = []
    original = arrow_csv.read_csv

    def recorded(path, read_options, parse_options, convert_options):
        asked.append((path.name, convert_options.include_columns))
        return original(path, read_options, parse_options, convert_options)

    monkeypatch.setattr(arrow_csv, "read_csv", recorded)
    report = read(tmp_path, PRIVATE).report
    assert ("orders.csv", ["4", "5"]) in asked
    assert len(asked) == 2  # the other read is that of the catalogue
    assert report.columns_never_read == {
        "name": "looks like a person's name",
        "E-Mail": "looks like an e-mail address",
        "Phone": "looks like a telephone number",
        "street": "looks like an address",
    }
    assert report.columns_dropped == ["size"]


def test_no_private_cell_is_kept_or_printed(tmp_path):
    dataset = read(tmp_path, PRIVATE)
    assert b"secret" not in pickle.dumps(dataset).lower()
    assert "secret" not in repr(dataset).lower()


def test_ids_are_hashed_with_a_key_that_is_not_kept(tmp_path, monkeypatch):
    key = bytes(range(64))
    hashed = []
    original = hashlib.blake2b
    assert key != secrets.token_bytes(64)

    def recorded(*arguments, **options):
        hashed.append((arguments, options["key"]))
        return original(*arguments, **options)

    recorded.MAX_KEY_SIZE = original.MAX_KEY_SIZE  # type: ignore[attr-defined]
    monkeypatch.setattr(secrets, "token_bytes", lambda size: key[:size])
    monkeypatch.setattr(hashlib, "blake2b", recorded)
    dataset = read(tmp_path)
    assert hashed == [((b"ann",), key), ((b"bob",), key)]  # each id is hashed once
    kept = pickle.dumps(dataset)
    assert key not in kept
    assert original(b"ann", key=key, digest_size=16).hexdigest().encode() not in kept


def test_two_imports_number_the_devices_alike(tmp_path):
    orders = "user,item\n" + "".join(f"u{number},{'ABC'[number % 3]}\n" for number in range(60))
    assert events(read(tmp_path, orders)) == events(read(tmp_path, orders))


def test_an_email_may_be_the_shopper_if_chosen_and_this_is_reported(tmp_path):
    orders = "email,sku\nsecret@x.org,A\n"
    with pytest.raises(UserError, match="--shopper-column, for example 'email', which is hashed"):
        read(tmp_path, orders)
    dataset = read(tmp_path, orders, shopper_column="email")
    assert dataset.report.columns_never_read == {}
    assert any("'email' looks like an e-mail address: it was hashed" in note for note in dataset.report.notes)
    assert "secret" not in repr(dataset)


def test_an_email_may_be_no_other_part(tmp_path):
    with pytest.raises(UserError, match="never read"):
        read(tmp_path, "user,email\nann,secret@x.org\n", item_column="email")


# --- Bad rows ---------------------------------------------------------------------------------------------

BAD = """user,sku,date,qty
ann,A,2024-01-01,1
,A,2024-01-01,1
bob,,2024-01-01,1
bob,A,secret,1
bob,A,2024-01-01,secret
bob,A,2024-01-01,-1
bob,A,2024-01-01,0

bob,A,2024-01-01,1,secret
bob,A,2024-01-01
ann,B,2024-01-02,1
,A,2024-01-01,1
,A,2024-01-01,1
,A,2024-01-01,inf
"""


def test_bad_rows_are_counted_by_reason_with_their_lines(tmp_path):
    dataset = read(tmp_path, BAD)
    report = dataset.report
    assert (report.rows_read, report.rows_kept) == (14, 2)
    assert report.rows_dropped == {
        "an empty row": 1,
        "another number of cells than the header": 2,
        "no shopper": 4,
        "no item": 1,
        "no readable time": 1,
        "a weight that is not a number": 1,
        "a return (a quantity below 0)": 1,
        "a weight of zero": 1,
    }
    notes = report.sentences()
    assert "dropped for no shopper: lines 3, 13, 14, …" in notes
    assert "dropped for an empty row: line 9" in notes
    assert "dropped for another number of cells than the header: lines 10, 11" in notes
    assert "dropped for a weight of zero: line 8" in notes
    assert "secret" not in repr(dataset)
    assert dataset.events.num_devices == 1  # bob has no usable row


@pytest.mark.parametrize("line", [3, 4, 5, 6, 8, 10, 11])
def test_strict_stops_at_the_first_bad_row(tmp_path, line):
    lines = BAD.splitlines()
    orders = "\n".join([*lines[:2], *[lines[1]] * (line - 3), lines[line - 1], "", lines[2]])
    with pytest.raises(UserError, match=rf"line {line}: (no|a|another) ") as caught:
        read(tmp_path, orders, strict=True)
    assert "secret" not in str(caught.value)


def test_strict_names_the_line_of_the_file_below_cells_with_line_breaks(tmp_path):
    with pytest.raises(UserError, match="line 6: no shopper"):
        read(tmp_path, 'user,sku,note\nann,A,"one\ntwo"\nann,B,"three\n"\n,A,x\n', strict=True)


def test_weights_are_read_with_the_files_decimal_mark_and_this_is_reported(tmp_path):
    dataset = read(tmp_path, "user;item;qty\nann;A;1.200\nann;B;1.200,50\n")
    assert events(dataset) == [(0, "A", 1200), (0, "B", 1200.5)]
    assert "numbers: with a decimal comma, as in 2,55 (shown by 1 cells)" in dataset.report.sentences()


def test_the_format_of_times_is_reported_and_unreadable_times_with_their_lines(tmp_path):
    dataset = read(
        tmp_path, "user,sku,Date,Time\nann,A,2024-05-31,1908\nann,B,2024-06-01,0715\nann,C,31st,0\n"
    )
    notes = dataset.report.sentences()
    assert (
        "times: Date and Time read as ISO 8601 (2024-05-31 14:00), from 2024-05-31 19:08 to 2024-06-01 07:15"
        in notes
    )
    assert "times in column 'Date' that are not understood, such as '31st' (line 4): line 4" in notes
    assert dataset.report.rows_dropped == {"no readable time": 1}


def test_excel_orders(tmp_path):
    pytest.importorskip("openpyxl")
    orders = pd.DataFrame(
        {
            "Customer ID": [17850, 17851, None],
            "SKU": ["A", "B", "A"],
            "Order Date": pd.to_datetime(["2024-05-31 14:00"] * 3),
        }
    )
    orders.to_excel(tmp_path / "orders.xlsx", index=False)
    (tmp_path / "items.csv").write_text(ITEMS)
    dataset = load("csv", DataOptions(path=tmp_path / "orders.xlsx", catalogue=tmp_path / "items.csv"))
    assert events(dataset) == [(0, "A", 1), (1, "B", 1)]
    assert dataset.report.rows_dropped_where == {"no shopper": "row 4"}


def test_strict_accepts_returns(tmp_path):
    dropped = read(tmp_path, ORDERS + "ann,A,2024-01-05,-1\n", strict=True).report.rows_dropped
    assert dropped == {"a return (a quantity below 0)": 1}


def test_strict_accepts_empty_rows(tmp_path):
    assert read(tmp_path, ORDERS + "\n\n", strict=True).report.rows_dropped == {"an empty row": 2}


CELL = st.sampled_from(["", "A", "B", "ann", "1", "-2", "0", "2024-01-01", "x", '"q,r"', "nan", " "])


@pytest.mark.slow
@given(st.lists(st.lists(CELL, min_size=0, max_size=6).map(",".join), min_size=1, max_size=12))
def test_no_row_is_lost_without_a_reason(tmp_path_factory, lines):
    good = "ann,A,2024-01-01,1,\n" * 13  # so that dates remain the most common kind of time
    orders = "user,sku,date,qty,note\n" + good + "\n".join(lines) + "\n"
    items = 'sku,title\nA,a\nB,b\nann,c\n1,d\n-2,e\n0,f\n2024-01-01,g\nx,h\n"q,r",i\n'
    report = read(tmp_path_factory.mktemp("orders"), orders, items).report
    assert report.rows_read == 13 + len(lines)
    assert report.rows_read == report.rows_kept + sum(report.rows_dropped.values())


def test_a_row_with_a_weight_too_large_for_single_precision_is_dropped(tmp_path):
    report = read(tmp_path, "user,sku,qty\nann,A,1\nann,A,1e39\n").report
    assert report.rows_dropped == {"a weight that is not a number": 1}


# --- Bad files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        (b"", "is empty"),
        (b"user,item\n", "one line or none"),
        (b"\n\nuser,item\n\n", "one line or none"),
        (b"user,item\nann,A\0\n", "not a text file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
        (b"PAR1 and no more", "damaged Parquet"),
        (
            b"user,colour\nann,red\n",
            "no column with a usual name for the item.*--item-column.*it has user, colour",
        ),
        (b"sku,colour\nA,red\n", "no column with a usual name for the shopper.*--shopper-column"),
        (b"user,item\n,A\n,B\n", r"no usable row \(no shopper: 2\)"),
        (b'user,item\nann,A\n"ann,A\nann,B\n', "line 3: a quotation mark is opened"),
        (b"secret@x.org,A,1\nann,B,2\n", "holds values"),
        (b"secret,A,17\nann,B,2\n", "holds values"),
        (b"secret,A,2024-01-01\nann,B,2\n", "holds values"),
    ],
)
def test_bad_files_are_refused(tmp_path, orders, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, orders)
    assert "secret" not in str(caught.value).replace(str(tmp_path), "")  # the folder has the name of the test
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    options = DataOptions(path=tmp_path / "orders.csv", catalogue=tmp_path / "items.csv")
    with pytest.raises(UserError, match="does not exist"):
        load("csv", options)
    (tmp_path / "orders.csv").write_text(ORDERS)
    with pytest.raises(UserError, match=r"items\.csv is not a file"):
        load("csv", options)


def test_a_file_named_parquet_must_be_parquet(tmp_path):
    (tmp_path / "orders.parquet").write_text(ORDERS)
    with pytest.raises(UserError, match="not Parquet despite"):
        load("csv", DataOptions(path=tmp_path / "orders.parquet", catalogue=tmp_path / "orders.parquet"))


def test_a_named_column_that_is_absent_is_refused(tmp_path):
    message = r"no column 'buyer' for --shopper-column: it has customer, sku, date, quantity"
    with pytest.raises(UserError, match=message):
        read(tmp_path, shopper_column="buyer")


def test_one_column_cannot_be_two_parts(tmp_path):
    with pytest.raises(UserError, match="both the shopper and the item"):
        read(tmp_path, shopper_column="sku")


def test_items_that_the_catalogue_lacks_are_named(tmp_path):
    with pytest.raises(UserError, match=r"lacks 2 of the items in the orders, for example 'Y': add them"):
        read(tmp_path, "user,item\nann,A\nann,Y\nann,Z\nann,Y\n")
    with pytest.raises(UserError, match=r"lacks 1 of the items in the orders: add them"):
        read(tmp_path, "user,item\nann,secret@x.org\n")
