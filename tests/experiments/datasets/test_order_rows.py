"""How a row is handled: fields given once an order, guests, cancellations, returns, and unknown items."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from terrycloth.experiments.datasets.guests import guest_ids
from terrycloth.experiments.datasets.order_fields import filled_down, orders_from_above
from terrycloth.experiments.datasets.packed_items import items_of_cell
from terrycloth.experiments.datasets.returns import CANCELLED, PARTLY_REFUNDED, REFUNDED, fates
from terrycloth.experiments.datasets.visits import NO_ORDER
from terrycloth.models.errors import UserError
from tests.experiments.datasets.shop import import_files, purchases

ITEMS = "sku,title\nA,x\nB,y\nC,z\n"

# --- Fields given once an order ---------------------------------------------------------------------------

ONCE = ["o1,ann,2024-05-01,A", "o1,,,B", "o2,bob,2024-05-02,A", "o1,,,C", "o2,,,B", "o3,,2024-05-03,C"]


@pytest.mark.parametrize("seed", range(4))
def test_fields_are_filled_by_order_id_wherever_the_line_is(tmp_path: Path, seed: int) -> None:
    lines = [ONCE[place] for place in np.random.default_rng(seed).permutation(len(ONCE))]
    dataset = import_files(tmp_path, "\n".join(["order id,customer id,date,sku", *lines]), ITEMS)
    assert purchases(dataset) == [
        (0, "A", "2024-05-01T00:00", 1), (0, "B", "2024-05-01T00:00", 1), (0, "C", "2024-05-01T00:00", 1),
        (1, "A", "2024-05-02T00:00", 1), (1, "B", "2024-05-02T00:00", 1),
    ]  # fmt: skip
    assert dataset.report.rows_dropped == {"no shopper": 1}
    assert any("shopper on 3 rows, time on 3 rows" in note for note in dataset.report.notes)


def column(*cells: str | None) -> pd.Series:
    return pd.Series(cells, dtype="string")


def test_orders_whose_lines_disagree_are_not_filled() -> None:
    filled, count = filled_down(column("ann", "bob", None, "eve", None), np.array([0, 0, 0, 1, 1]))
    assert (filled.tolist(), count) == (["ann", "bob", pd.NA, "eve", "eve"], 1)
    filled, count = filled_down(column("ann", None), np.array([NO_ORDER, NO_ORDER]))
    assert (filled.tolist(), count) == (["ann", pd.NA], 0)


def test_without_an_order_id_on_them_lines_belong_to_the_order_above() -> None:
    def above(
        orders: list[int], misfits: list[int] | None = None, given: list[int] | None = None
    ) -> list[int]:
        no_field = np.array(
            [order == NO_ORDER and row not in (given or []) for row, order in enumerate(orders)]
        )
        misfit = np.isin(np.arange(len(orders)), misfits or [])
        found: list[int] = orders_from_above(np.array(orders), no_field, misfit).tolist()
        return found

    assert above([0, -1, -1, 1, -1]) == [0, 0, 0, 1, 1]
    assert above([-1, 0, -1]) == [-1, 0, 0]
    assert above([0, -1, 0, -1]) == [0, -1, 0, -1]  # ids are repeated, so a line without one has none
    assert above([0, -1, 1, -1], given=[1]) == [0, -1, 1, -1]  # a line with a shopper begins an order
    assert above([0, -1, -1, -1], misfits=[2]) == [0, 0, -1, -1]  # an unreadable line may have begun an order


# --- Guests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "guests"),
    [
        ({"guest": 1, "ann": 5}, {"guest"}),
        ({"Gast": 2, "NOT LOGGED IN": 1, "ann": 5}, {"Gast", "NOT LOGGED IN"}),
        ({"0": 12, "1": 4, "2": 1}, {"0"}),
        ({"0": 12, "1": 5, "2": 1}, set()),  # a data set may number its people from 0
        ({"0": 9, "1": 1, "2": 1}, set()),
        ({"7": 30, **{f"u{n}": 3 for n in range(20)}}, {"7"}),
        ({"7": 29, **{f"u{n}": 3 for n in range(20)}}, set()),
        ({"7": 30, **{f"u{n}": 3 for n in range(18)}}, set()),  # among few shoppers, one may buy much
        ({"7": 30, **{f"u{n}": 3 for n in range(100)}}, set()),  # less than a tenth of the rows
        ({"ann": 50}, set()),
    ],
)
def test_ids_that_many_shoppers_share_are_recognised(rows: dict[str, int], guests: set[str]) -> None:
    shoppers = pd.Series([shopper for shopper, count in rows.items() for _ in range(count)], dtype="string")
    assert set(guest_ids(shoppers)) == guests


GUESTS = "customer id,email,sku\n" + "0,secret@x.org,A\n" * 12 + "7,secret@x.org,B\n8,secret@x.org,B\n"


def test_guests_are_reported_and_left_out_by_default(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, GUESTS, ITEMS)
    assert dataset.events.num_devices == 2
    assert dataset.report.rows_dropped == {"a guest, or an id that many shoppers share": 12}
    (problem,) = dataset.report.problems
    assert problem.sentence() == (
        "shopper id '0' has 86% of the rows and stands for many people: left out (--keep-guests keeps it "
        "as one shopper; --shopper-column 'email' may tell them apart)"
    )
    kept = import_files(tmp_path, GUESTS, ITEMS, keep_guests=True)
    assert (kept.events.num_devices, kept.report.rows_dropped) == (3, {})
    assert "kept as one shopper" in kept.report.problems[0].what


def test_a_shared_id_that_is_no_word_for_a_guest_is_not_printed(tmp_path: Path) -> None:
    orders = "customer id,sku\n" + "secret7,A\n" * 30 + "".join(f"u{n},A\n" for n in range(20))
    dataset = import_files(tmp_path, orders, ITEMS)
    assert dataset.report.problems[0].what.startswith("one shopper id has 60% of the rows")
    assert "secret7" not in repr(dataset)


# --- Cancellations and returns ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cell", "expected"),
    [
        ("Status", "refunded", REFUNDED), ("Financial Status", "voided", CANCELLED),
        ("Status", "Cancelled", CANCELLED), ("Status", "wc-cancelled", CANCELLED),
        ("Status", "Canceled", CANCELLED),
        ("Status", "Storniert", CANCELLED), ("Statut", "Annulée", CANCELLED),
        ("Statut", "Remboursé", REFUNDED),
        ("Status", "Rückerstattet", REFUNDED), ("Status", "partially_refunded", PARTLY_REFUNDED),
        ("Status", "paid", ""), ("Status", "not cancelled", ""), ("Status", None, ""),
        ("Cancelled at", "2024-05-01", CANCELLED), ("Cancelled at", None, ""), ("Storniert", "Ja", CANCELLED),
        ("Storniert", "Nein", ""), ("Storniert", "0", ""),
    ],
)  # fmt: skip
def test_the_meaning_of_an_order_status(header: str, cell: str | None, expected: str) -> None:
    assert fates(column(cell), header).tolist() == [expected]


def read(folder: Path, columns: str, *lines: str, **options: Any) -> tuple[dict[str, float], dict[str, int]]:
    """The weight of each item that ann bought, and the rows dropped by reason."""
    rows = [f"ann,2024-05-01,{line}" for line in lines]
    dataset = import_files(folder, "\n".join([f"user,date,{columns}", *rows]), ITEMS, **options)
    return {item: weight for _, item, _, weight in purchases(dataset)}, dataset.report.rows_dropped


def test_returns_within_an_order_reduce_its_quantities(tmp_path: Path) -> None:
    """One of three A was returned in the same order; a return under another order number changes nothing."""
    bought, dropped = read(tmp_path, "order,sku,qty", "1,A,3", "1,A,-1", "1,B,1", "1,B,-1", "2,C,2", "3,C,-1")
    assert bought == {"A": 2, "C": 2}
    assert dropped == {"a return (a quantity below 0)": 3, "a purchase that was returned in full": 1}


def test_a_refunded_quantity_reduces_its_own_row(tmp_path: Path) -> None:
    bought, dropped = read(tmp_path, "sku,qty,refunded quantity", "A,3,1", "B,2,-2", "C,1,")
    assert bought == {"A": 2, "C": 1}
    assert dropped == {"a purchase that was returned in full": 1}


def test_partly_refunded_orders_are_kept_and_reported(tmp_path: Path) -> None:
    orders = "user,sku,status\nann,A,partially refunded\nann,B,voided\n"
    report = import_files(tmp_path, orders, ITEMS).report
    assert report.rows_dropped == {"a cancelled order": 1}
    assert report.problems[0].sentence() == (
        "orders partly refunded by 'status', which does not say of which items: all are kept: line 2"
    )


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("2x T-1|1x T-3", [("T-1", "2"), ("T-3", "1")]),
        ("name:A, b|product_id:7|sku:T-1|quantity:2|total:3", [("T-1", "2")]),
        ("product_id:7|sku:|quantity:2;product_id:8|quantity:1", [("7", "2"), ("8", "1")]),
        ("2x T-1|what", [("T-1", "2"), (None, "1")]),
        ("what", [(None, "1")]),
    ],
)
def test_a_cell_may_hold_several_items(cell: str, items: list[tuple[str | None, str]]) -> None:
    assert items_of_cell(cell) == items


# --- Unknown items ----------------------------------------------------------------------------------------

UNKNOWN = "user,sku,qty\nann,A,1\nann,Y,1\nbob,X,1\nbob,X,2\nbob,secret@x.org,1\nbob,Z,-1\n"


def test_unknown_items_are_an_error_that_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks 3 of the items.*'Y'.*--unknown-items drop$"):
        import_files(tmp_path, UNKNOWN, ITEMS)


def test_unknown_items_can_be_dropped_and_are_listed(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, UNKNOWN, ITEMS, unknown_items="drop")
    report = dataset.report
    assert report.rows_dropped == {"an item that the catalogue lacks": 4, "a return (a quantity below 0)": 1}
    assert report.unknown_items == {"X": 2, "Y": 1}
    assert "secret" not in repr(dataset)
    path = report.write_unknown_items(tmp_path)
    assert path is not None
    assert path.read_text() == "item,rows\nX,2\nY,1\n"
    assert import_files(tmp_path, "user,sku\nann,A\n", ITEMS).report.write_unknown_items(tmp_path) is None
