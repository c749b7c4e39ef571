"""How the columns of a table are found by their headers, and which are private."""

import pytest

from experiments.datasets.tables import find_column, why_private


@pytest.mark.parametrize("header", ["Customer ID", "customer-id", "CUSTOMER_ID", "CustomerId"])
def test_names_are_found_whatever_their_case_and_marks(header):
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
