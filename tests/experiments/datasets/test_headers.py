"""How columns are recognised by their headers, and which of them are private."""

import pytest

from terrycloth.experiments.datasets.headers import find_column, names_of, why_private


@pytest.mark.parametrize("header", ["Customer ID", "customer-id", "CUSTOMER_ID", "CustomerId"])
def test_names_are_recognised_in_any_case_and_punctuation(header):
    assert find_column(["x", header], "customerid") == 1


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Customer Name", "name"),
        ("firstname", "name"),
        ("surname", "name"),
        ("customerEmail", "e-mail"),
        ("e-mail address", "e-mail"),
        ("Mobile", "telephone"),
        ("tel.", "telephone"),
        ("Shipping City", "address"),
        ("zip", "address"),
        ("billing_postcode", "address"),
        ("IP address", "network"),
        ("date_of_birth", "birth"),
        ("product_name", None),
        ("Item Name", None),
        ("ArticleName", None),
        ("quantity", None),
        ("shipping", None),
        ("percentage", None),
        ("hotel", None),
    ],
)
def test_private_headers(header, reason):
    found = why_private(header)
    assert (found is None) if reason is None else reason in (found or "")


@pytest.mark.parametrize(
    "header",
    [
        "order", "Order ID", "order-number", "OrderNo", "InvoiceNo", "Invoice", "receipt no.", "basket_id",
        "transaction id", "Bestellnummer", "Beleg-Nr.", "commande", "N° commande", "numéro de commande",
    ],
)  # fmt: skip
def test_order_ids_are_recognised_by_their_usual_names(header):
    assert find_column(["x", header], names_of("order")) == 1


@pytest.mark.parametrize(
    "header",
    ["order date", "order time", "ordered at", "order status", "order item", "order quantity", "invoice date",
     "InvoiceDate", "transaction date", "transaction type", "basket size", "Bestelldatum", "order line"],
)  # fmt: skip
def test_other_columns_about_orders_are_no_order_ids(header):
    assert find_column([header], names_of("order")) is None


def test_an_id_comes_before_a_bare_word():
    assert find_column(["order", "order id"], names_of("order")) == 1


def test_no_name_belongs_to_two_parts():
    names = [
        name for part in ("shopper", "item", "time", "weight", "order") for name in names_of(part).split()
    ]
    assert len(set(names)) == len(names)
