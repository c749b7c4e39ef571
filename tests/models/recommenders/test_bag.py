"""The bags of rows of the six towels, worked out by hand."""

import pandas as pd
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.bag import NOTHING, Bag, build_bag

# colour=moss 0, colour=sand 1, composition=cotton 2, composition=linen 3, size=bath 4, size=hand 5, unknown 6
BY_ATTRIBUTE = [[1, 2, 5], [1, 2, 3, 4], [0, 3, 5], [0, 2, 4], [0, 1, 2], [6]]
NAMES = [
    "colour=moss",
    "colour=sand",
    "composition=cotton",
    "composition=linen",
    "size=bath",
    "size=hand",
]


def bags(bag: Bag) -> list[list[int]]:
    return [sorted(row for row in rows if row != NOTHING) for rows in bag.rows.tolist()]


def test_own_rows_alone_give_one_row_an_item(catalogue: Catalogue) -> None:
    bag = build_bag(catalogue, attributes=False, own_rows=True)
    assert bag.rows.tolist() == [[0], [1], [2], [3], [4], [5]]
    assert bag.names == ["item t0", "item t1", "item t2", "item t3", "item t4", "item t5"]


def test_an_item_without_attributes_gets_the_row_unknown(catalogue: Catalogue) -> None:
    bag = build_bag(catalogue, attributes=True, own_rows=False)
    assert bag.names == [*NAMES, "unknown"]
    assert bags(bag) == BY_ATTRIBUTE
    assert bag.rows.shape == (6, 4)
    assert bag.rows.dtype == torch.int64
    assert (bag.num_items, bag.num_rows) == (6, 7)


def test_with_own_rows_no_item_needs_the_row_unknown(catalogue: Catalogue) -> None:
    bag = build_bag(catalogue, attributes=True, own_rows=True)
    assert bag.names == [f"item t{i}" for i in range(6)] + NAMES
    shifted = [[i] + [row + 6 for row in rows] for i, rows in enumerate(BY_ATTRIBUTE[:5])]
    assert bags(bag) == [*shifted, [5]]


def test_without_any_rows_all_items_share_the_row_unknown(catalogue: Catalogue) -> None:
    bag = build_bag(catalogue, attributes=False, own_rows=False)
    assert bag.names == ["unknown"]
    assert bag.rows.tolist() == [[0]] * 6


def test_incidence_by_hand(catalogue: Catalogue) -> None:
    incidence = build_bag(catalogue, attributes=True, own_rows=False).incidence()
    assert incidence.to_dense().tolist() == [
        [0, 1, 1, 0, 0, 1, 0],
        [0, 1, 1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0, 1, 0],
        [1, 0, 1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]


def test_rows_do_not_depend_on_the_order_of_items(catalogue: Catalogue) -> None:
    turned = Catalogue(catalogue.table.iloc[::-1].reset_index(drop=True))
    bag, other = (build_bag(each, attributes=True, own_rows=False) for each in (catalogue, turned))
    assert bag.names == other.names
    assert bags(bag) == bags(other)[::-1]


def test_a_table_with_another_index_gives_the_same_bag(catalogue: Catalogue) -> None:
    moved = Catalogue(catalogue.table.set_axis([7, 3, 9, 1, 0, 4], axis=0))
    assert bags(build_bag(moved, attributes=True, own_rows=True)) == bags(
        build_bag(catalogue, attributes=True, own_rows=True)
    )


def test_a_value_given_twice_counts_once() -> None:
    table = pd.DataFrame({"item": ["a"], "title": ["A"], "colour": pd.Series([("sand", "sand")])})
    bag = build_bag(Catalogue(table), attributes=True, own_rows=False)
    assert bag.incidence().to_dense().tolist() == [[1]]


cells = st.lists(st.sampled_from(["red", "blue", "green"]), unique=True, max_size=3).map(tuple)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8), own_rows=st.booleans())
def test_every_item_has_the_rows_of_its_values_and_no_other(
    rows: list[tuple[tuple[str, ...], tuple[str, ...]]], own_rows: bool
) -> None:
    table = pd.DataFrame(
        {
            "item": [f"i{i}" for i in range(len(rows))],
            "title": ["x"] * len(rows),
            "a": pd.Series([row[0] for row in rows], dtype=object),
            "b": pd.Series([row[1] for row in rows], dtype=object),
        }
    )
    bag = build_bag(Catalogue(table), attributes=True, own_rows=own_rows)
    for i, (first, second) in enumerate(rows):
        wanted = {f"a={value}" for value in first} | {f"b={value}" for value in second}
        wanted |= {f"item i{i}"} if own_rows else set()
        names = [bag.names[row] for row in bag.rows[i].tolist() if row != NOTHING]
        assert len(names) == len(set(names))
        assert set(names) == (wanted or {"unknown"})
    dense = bag.incidence().to_dense()
    assert dense.sum() == (bag.rows != NOTHING).sum()
    assert len(set(bag.names)) == bag.num_rows
