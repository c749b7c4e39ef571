"""Each layout of MovieLens, written by hand in a few lines, and the real files where they are available."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.movielens import GENRES
from terrycloth.models.errors import UserError

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (REAL / name).exists(), reason=f"{REAL / name} is not here")


def write(folder: Path, encoding: str = "utf-8", **files: str) -> Path:
    """Write files by name, with "__" in place of the dot."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding=encoding)
    return folder


def read(path: Path) -> Dataset:
    return load("movielens", DataOptions(path=path))  # also checks the sum of the report


def rows(dataset: Dataset) -> list[tuple[int, str, int, float]]:
    """Return (device, item identifier, time, weight) of every event, in order."""
    events = dataset.events
    items = dataset.catalogue.table["item"].to_numpy()[events.items]
    columns = (events.devices, items, events.times, events.weights)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def film(number: int, title: str, date: str, *genres: str) -> str:
    """Return a line of u.item."""
    return f"{number}|{title}|{date}||http://x|" + "|".join(str(int(g in genres)) for g in GENRES) + "\n"


# Of persons 10 and 9, 9 is first by number, and 10 as text. Person 10's rows are not in order of time.
EXPECTED = [(0, "3", 300, 1.0), (1, "1", 100, 1.0), (1, "3", 200, 1.0)]
GENRE_CELLS = [("Animation", "Children's"), (), ("Drama",)]
DECADES = [("1990s",), (), ("1930s",)]


def grouplens_100k(folder: Path) -> Path:
    return write(
        folder,
        encoding="latin-1",
        u__data="10\t3\t5\t200\n9\t3\t1\t300\n10\t1\t4\t100\n",
        u__item=film(1, "Toy Story (1995)", "01-Jan-1995", "Animation", "Children's")
        + film(2, "unknown", "", "unknown")
        + film(3, "Café", "01-Jan-1938", "Drama"),
        u__user="9|17|M|writer|12345\n10|56|F|other|54321\n",
    )


def dat(folder: Path) -> Path:
    return write(
        folder,
        encoding="latin-1",
        ratings__dat="10::3::5::200\n9::3::1::300\n10::1::4::100\n",
        movies__dat="1::Toy Story (1995)::Animation|Children's\n"
        "2::Star: The End::unknown\n3::Café (1938)::Drama\n",
        users__dat="9::M::1::20::12345\n10::F::56::0::54321\n",
    )


def csv(folder: Path) -> Path:
    return write(
        folder,
        ratings__csv="userId,movieId,rating,timestamp\n10,3,5.0,200\n9,3,0.5,300\n10,1,4.0,100\n",
        movies__csv='movieId,title,genres\n1,"Toy Story, A (1995)",Animation|Children\'s\n'
        "2,None,(no genres listed)\n3,Café (1938),Drama\n",
    )


def recbole(folder: Path) -> Path:
    return write(
        folder,
        x__inter="user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "10\t3\t5\t200\n9\t3\t1\t300.0\n10\t1\t4\t100\n",
        x__item="item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's\n2\tunkonwn\tunkonwn\tunknown\n3\tCafé\t1938\tDrama\n",
        x__user="user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "9\t17\tM\twriter\t12345\n10\t56\tF\tother\t54321\n",
    )


LAYOUTS = pytest.mark.parametrize(
    ("make", "titles"),
    [
        (grouplens_100k, ["Toy Story (1995)", "unknown", "Café"]),
        (dat, ["Toy Story (1995)", "Star: The End", "Café (1938)"]),
        (csv, ["Toy Story, A (1995)", "None", "Café (1938)"]),
        (recbole, ["Toy Story", "unkonwn", "Café"]),
    ],
)
MAIN_FILES = {grouplens_100k: "u.data", dat: "ratings.dat", csv: "ratings.csv", recbole: "x.inter"}


@LAYOUTS
def test_layout_gives_events_and_catalogue(tmp_path, make, titles):
    dataset = read(make(tmp_path))
    table = dataset.catalogue.table
    assert rows(dataset) == EXPECTED
    assert dataset.events.num_devices == 2
    assert list(table["item"]) == ["1", "2", "3"]  # films without ratings are included
    assert not dataset.catalogue_from_events
    assert list(table["title"]) == titles
    assert list(table["genre"]) == GENRE_CELLS
    assert list(table["decade"]) == DECADES
    assert (dataset.report.rows_read, dataset.report.rows_kept, dataset.report.rows_dropped) == (3, 3, {})
    assert [name.lower()[:6] for name in dataset.report.columns_dropped] == ["rating"]


@LAYOUTS
def test_path_may_be_the_ratings_file(tmp_path, make, titles):
    assert rows(read(make(tmp_path) / MAIN_FILES[make])) == EXPECTED


@pytest.mark.parametrize("make", [grouplens_100k, dat, recbole])
def test_groups_have_one_row_a_device_without_zip_codes(tmp_path, make):
    dataset = read(make(tmp_path))
    assert dataset.groups.to_dict("list") == {
        "gender": ["M", "F"],
        "age": ["under 18", "56+"],
        "occupation": ["writer", "other"],
    }
    assert [name[:3].lower() for name in dataset.report.columns_never_read] == ["zip"]


def test_someone_missing_from_the_people_file_is_unknown(tmp_path):
    write(grouplens_100k(tmp_path), u__user="10|24|F|other|54321\n8|30|M|writer|1\n")
    groups = read(tmp_path).groups
    assert groups.to_numpy().tolist() == [["unknown"] * 3, ["F", "18-24", "other"]]


@LAYOUTS
def test_a_visit_may_be_a_day(tmp_path, make, titles):
    dataset = load("movielens", DataOptions(path=make(tmp_path), visit="day"))
    assert set(dataset.events.times.tolist()) == {0}


@LAYOUTS
def test_films_are_in_the_order_of_their_ids(tmp_path, make, titles):
    folder = make(tmp_path)
    films = next(
        path for path in folder.iterdir() if path.name.endswith((".item", "movies.dat", "movies.csv"))
    )
    lines = films.read_bytes().splitlines(keepends=True)
    header = lines[:-3]
    films.write_bytes(b"".join([*header, *reversed(lines[-3:])]))
    dataset = read(folder)
    assert list(dataset.catalogue.table["title"]) == titles
    assert rows(dataset) == EXPECTED


def test_csv_has_no_groups(tmp_path):
    assert read(csv(tmp_path)).groups is None


def test_film_missing_from_the_film_file_is_dropped_and_counted(tmp_path):
    write(csv(tmp_path), movies__csv="movieId,title,genres\n1,Toy Story,Drama\n")
    dataset = read(tmp_path)
    assert rows(dataset) == [(1, "1", 100, 1.0)]
    assert dataset.report.rows_dropped == {"film is not in movies.csv": 2}


def test_without_a_film_file_the_catalogue_holds_the_rated_films(tmp_path):
    (csv(tmp_path) / "movies.csv").unlink()
    dataset = read(tmp_path)
    assert rows(dataset) == EXPECTED
    assert dataset.catalogue.table.to_numpy().tolist() == [["1", "film 1"], ["3", "film 3"]]
    assert dataset.catalogue_from_events


def test_release_date_stands_in_for_a_year_missing_from_the_title(tmp_path):
    write(grouplens_100k(tmp_path), u__item=film(1, "A", "31-Dec-1969") + film(3, "B (2001)", "01-Jan-1938"))
    assert list(read(tmp_path).catalogue.table["decade"]) == [("1960s",), ("2000s",)]


def ncf(folder: Path, negatives: str = "(0,1)\t2\t1\n(1,0)\t2\t3\n") -> Path:
    pairs = pd.DataFrame(
        {"userID": ["1", "1", "2", "2", "1", "3"], "movieID": ["70", "5", "5", "70", "9", "8"]}
    )
    pairs.to_parquet(folder / "pairs.parquet")
    write(folder, m__test__rating="0\t1\t5\t111\n1\t0\t3\t222\n")
    (folder / "m.test.negative.gz").write_bytes(gzip.compress(negatives.encode()))
    return folder


@pytest.mark.parametrize("main_file", ["", "pairs.parquet"])
def test_ncf_split_keeps_the_held_out_item_from_the_events(tmp_path, main_file):
    dataset = read(ncf(tmp_path) / main_file)
    assert list(dataset.catalogue.table["item"]) == ["70", "5", "9", "8"]  # order of first appearance
    assert rows(dataset) == [(0, "70", 0, 1.0), (0, "9", 0, 1.0), (1, "5", 0, 1.0), (2, "8", 0, 1.0)]
    assert dataset.report.rows_dropped == {"held out by the published split": 2}
    assert not dataset.times_known
    assert not dataset.take(2, seed=0).times_known
    assert dataset.catalogue_from_events
    assert dataset.take(2, seed=0).catalogue_from_events
    assert dataset.published.items.tolist() == [1, 0, -1]
    assert dataset.published.negatives.shape == (3, 99)
    # Item 1 is in person 0's training events.
    assert dataset.published.negatives[:, :2].tolist() == [
        [2, -1],
        [2, 3],
        [-1, -1],
    ]
    assert (dataset.published.negatives[:, 2:] == -1).all()
    assert any(note.startswith("1 negatives equal") for note in dataset.report.notes)


@pytest.mark.parametrize(
    "negatives",
    [
        "(0,1)\t2\t3\n(1,1)\t2\t3\n",  # this is not the item of the test file
        "(0,1)\t2\t3\n(1,0)\t2\n",  # truncated
        "(0,1)\t2\t3\n(1,0)\t2\t4\n",  # there is no item 4
        "0,1\t2\t3\n(1,0)\t2\t3\n",
    ],
)
def test_ncf_negatives_that_do_not_fit_are_refused(tmp_path, negatives):
    with pytest.raises(UserError, match=r"m\.test\.negative\.gz"):
        read(ncf(tmp_path, negatives))


def test_ncf_split_without_its_test_file_says_what_is_missing(tmp_path):
    (ncf(tmp_path) / "m.test.rating").unlink()
    with pytest.raises(UserError, match=r"not both of \*\.test\.rating"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["pairs.parquet", "m.test.negative.gz"])
def test_a_truncated_ncf_file_is_named(tmp_path, name):
    path = ncf(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-15])
    with pytest.raises(UserError, match=name):
        read(tmp_path)


def test_unknown_layout_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError) as error:
        read(write(tmp_path, orders__csv="a,b\n"))
    assert all(
        name in str(error.value) for name in [*MAIN_FILES.values(), "pairs.parquet"] if name != "x.inter"
    )
    assert "*.inter" in str(error.value)


def test_several_interaction_files_ask_for_one(tmp_path):
    write(recbole(tmp_path), y__inter="")
    with pytest.raises(UserError, match="2 files"):
        read(tmp_path)
    assert rows(read(tmp_path / "x.inter")) == EXPECTED


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02\x89PNG\xff\xfe\n\x00" * 50,
        b"10\t3\t5\t200\n9\t3\t1",  # truncated
        b"10\t3\t5\t200\n9\t3\n",
        b"10\t3\t5\t200\nmaria\t3\t1\t300\n",
        b"10\t3\t5\t200\t7\n9\t3\t1\t300\t7\n",
    ],
)
def test_damaged_ratings_give_one_line_that_names_the_file_and_no_value(tmp_path, content):
    path = grouplens_100k(tmp_path) / "u.data"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(tmp_path)
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    assert "maria" not in text


def test_damaged_film_file_is_named(tmp_path):
    write(grouplens_100k(tmp_path), u__item=film(1, "A", "", "War").replace("1\n", "7\n").replace("|0", "|x"))
    with pytest.raises(UserError, match=r"u\.item"):
        read(tmp_path)


def test_a_film_listed_twice_is_named(tmp_path):
    write(csv(tmp_path), movies__csv="movieId,title,genres\n1,A,Drama\n1,B,Drama\n")
    with pytest.raises(UserError, match=r"movies\.csv lists film 1 twice"):
        read(tmp_path)


def test_a_missing_column_is_named(tmp_path):
    write(csv(tmp_path), ratings__csv="userId,movieId,rating\n1,1,5\n")
    with pytest.raises(UserError, match=r"ratings\.csv has no column timestamp"):
        read(tmp_path)


@pytest.mark.realdata
@needs("ml-100k")
def test_the_real_movielens_100k():
    dataset = read(REAL / "ml-100k")
    table = dataset.catalogue.table
    assert (dataset.events.num_devices, len(dataset.catalogue), len(dataset.events)) == (943, 1682, 100_000)
    assert (
        len(set(zip(dataset.events.devices.tolist(), dataset.events.items.tolist(), strict=True))) == 100_000
    )
    assert table["genre"].explode().nunique() == 18
    assert (table["genre"].str.len() == 0).sum() == 2
    assert table["genre"].explode().eq("Drama").sum() == 725
    assert table["decade"].explode().nunique() == 8
    assert dataset.groups["gender"].value_counts().to_dict() == {"M": 670, "F": 273}
    assert not (dataset.groups == "unknown").any(axis=None)


@pytest.mark.realdata
@needs("ml-1m")
def test_the_real_split_of_ncf():
    dataset = read(REAL / "ml-1m")
    events, published = dataset.events, dataset.published
    assert (events.num_devices, len(dataset.catalogue), len(events)) == (6040, 3706, 994_169)
    assert dataset.report.rows_dropped == {"held out by the published split": 6040}
    assert (published.items >= 0).all()
    assert (published.negatives == -1).sum() == 156
    assert dataset.catalogue.table["item"][0] == "1193"
    assert published.items[0] == 25
    bought = np.zeros((events.num_devices, len(dataset.catalogue)), dtype=bool)
    bought[events.devices, events.items] = True
    assert not bought[np.arange(len(bought)), published.items].any()
    drawn = np.where(published.negatives < 0, published.negatives[:, :1], published.negatives)
    assert not np.take_along_axis(bought, drawn, axis=1).any()  # no negative is a training item
