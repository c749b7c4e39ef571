"""MovieLens in any of its layouts: GroupLens 100K, `.dat`, `.csv`, RecBole's atomic files, NCF's own split.

The data are described by Harper and Konstan, "The MovieLens Datasets: History and Context", TiiS 2015. The
split with 99 negatives is that of He et al., "Neural Collaborative Filtering", WWW 2017. GroupLens forbids
redistribution, so users have to get their own copy.
"""

import csv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.dataset import DataOptions, Dataset, PublishedTest
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.visits import Lines, events_in_visits
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError

NAME = "movielens"
NUM_NEGATIVES = 99
NUMBERS: dict[str, Any] = {"user": np.int64, "item": np.int64, "time": np.float64, "age": np.float64}
FIELD_SEPARATOR = "\x1f"  # stands in for "::", since pandas reads only one-character separators fast
ZIP_CODE_REASON = "shows where a person lives"
GENRES = [
    *["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"],
    *["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War"],
    "Western",
]
NO_GENRE = {"", "unknown", "(no genres listed)"}
# The bands of MovieLens 1M, whose files hold the lower edge (1 for under 18). 100K holds the age itself.
AGE_EDGES = [0, 18, 25, 35, 45, 50, 56, np.inf]
AGE_BANDS = ["under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"]
# In the order of MovieLens 1M's codes 0, 1, 2 …; 100K has names.
OCCUPATIONS = [
    *["other", "educator", "artist", "administrator", "student", "customer service", "healthcare"],
    *["executive", "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired", "marketing"],
    *["scientist", "self-employed", "engineer", "craftsman", "unemployed", "writer"],
]


@dataclass(frozen=True)
class Table:
    """The format of one text file.

    file: its name, or a pattern; {stem} is the stem of the ratings file. columns: the columns to read, the
    file's name → ours. names: all columns in order, if the file has no header line.
    """

    file: str
    separator: str
    columns: dict[str, str]
    names: list[str] | None = None


@dataclass(frozen=True)
class Layout:
    """The files of one edition, recognised by its ratings file. Films and people are read if present."""

    name: str
    ratings: Table
    films: Table
    people: Table | None = None
    genre_separator: str = "|"


LAYOUTS = (
    Layout(
        "GroupLens 100K",
        ratings=Table(
            "u.data",
            "\t",
            {"user id": "user", "item id": "item", "timestamp": "time"},
            names=["user id", "item id", "rating", "timestamp"],
        ),
        films=Table(
            "u.item",
            "|",
            {"movie id": "item", "movie title": "title", "release date": "year"} | {g: g for g in GENRES},
            names=["movie id", "movie title", "release date", "video release date", "IMDb URL", *GENRES],
        ),
        people=Table(
            "u.user",
            "|",
            {"user id": "user", "age": "age", "gender": "gender", "occupation": "occupation"},
            names=["user id", "age", "gender", "occupation", "zip code"],
        ),
    ),
    Layout(
        "GroupLens .dat",
        ratings=Table(
            "ratings.dat",
            "::",
            {"UserID": "user", "MovieID": "item", "Timestamp": "time"},
            names=["UserID", "MovieID", "Rating", "Timestamp"],
        ),
        films=Table(
            "movies.dat",
            "::",
            {"MovieID": "item", "Title": "title", "Genres": "genres"},
            names=["MovieID", "Title", "Genres"],
        ),
        people=Table(
            "users.dat",
            "::",
            {"UserID": "user", "Gender": "gender", "Age": "age", "Occupation": "occupation"},
            names=["UserID", "Gender", "Age", "Occupation", "Zip-code"],
        ),
    ),
    Layout(
        "GroupLens .csv",
        ratings=Table("ratings.csv", ",", {"userId": "user", "movieId": "item", "timestamp": "time"}),
        films=Table("movies.csv", ",", {"movieId": "item", "title": "title", "genres": "genres"}),
    ),
    Layout(
        "RecBole",
        ratings=Table(
            "*.inter",
            "\t",
            {"user_id:token": "user", "item_id:token": "item", "timestamp:float": "time"},
        ),
        films=Table(
            "{stem}.item",
            "\t",
            {
                "item_id:token": "item",
                "movie_title:token_seq": "title",
                "release_year:token": "year",
                "class:token_seq": "genres",  # its ml-100k
                "genre:token_seq": "genres",  # its ml-1m
            },
        ),
        people=Table(
            "{stem}.user",
            "\t",
            {
                "user_id:token": "user",
                "age:token": "age",
                "gender:token": "gender",
                "occupation:token": "occupation",
            },
        ),
        genre_separator=" ",
    ),
)
NCF_PAIRS, NCF_TEST, NCF_NEGATIVES = "pairs.parquet", "*.test.rating", "*.test.negative*"


def load(options: DataOptions) -> Dataset:
    """Read MovieLens from a folder, or from the ratings file in it. The file names determine the layout.

    Every rating is one interaction of weight 1 at its time stamp; the number of stars is not read. Devices
    are people in the order of their ids. The catalogue is that of the film file, with `genre` and `decade`;
    if there is no film file, it holds the rated films. Gender, age band and occupation, if known, are in
    `groups`, for audits only.

    Raises UserError if no layout is recognised or a file cannot be read.
    """
    assert options.path is not None
    if _main_file(options.path, NCF_PAIRS):
        return _load_ncf_split(options.path)
    for layout in LAYOUTS:
        ratings_path = _main_file(options.path, layout.ratings.file)
        if ratings_path:
            return _load_tables(layout, ratings_path, options.visit)
    known = ", ".join([*(layout.ratings.file for layout in LAYOUTS), NCF_PAIRS])
    raise UserError(f"{options.path} is not MovieLens: it holds none of {known}")


def _main_file(path: Path, pattern: str) -> Path | None:
    """The matching file: `path` itself, or the only match in the folder `path`; None if there is none."""
    if path.is_file():
        return path if fnmatch(path.name, pattern) else None
    matches = sorted(path.glob(pattern))
    if len(matches) > 1:
        raise UserError(
            f"{path} holds {len(matches)} files that match {pattern}: name one of them with --path"
        )
    return matches[0] if matches else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any error from a broken file into a UserError that names the file but quotes nothing of it."""
    try:
        yield
    except (ValueError, OSError, EOFError, zlib.error):
        raise UserError(f"{path} cannot be read: it is cut short, damaged or in another format") from None


def _read(table: Table, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read the columns of the table under our names; also return the file's names of the other columns."""
    with _reading(path):
        content = path.read_bytes()
        separator = table.separator
        if len(separator) > 1:
            content, separator = (
                content.replace(separator.encode(), FIELD_SEPARATOR.encode()),
                FIELD_SEPARATOR,
            )
        options: dict[str, Any] = {
            "sep": separator,
            "encoding": _encoding(content),
            "header": 0 if table.names is None else None,
            "names": table.names,
            "quoting": csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
            "keep_default_na": False,  # "None" and "NA" are titles
            "na_values": [""],
        }
        names = table.names or list(pd.read_csv(BytesIO(content), nrows=0, **options).columns)
        present = {theirs: ours for theirs, ours in table.columns.items() if theirs in names}
        missing = set(table.columns.values()) - set(present.values())
        if missing:
            wanted = sorted(theirs for theirs, ours in table.columns.items() if ours in missing)
            raise UserError(f"{path} has no column {' or '.join(wanted)}: see the README of the data set")
        dtypes: dict[str, Any] = {name: NUMBERS.get(present.get(name, ""), str) for name in names}
        rows: pd.DataFrame = pd.read_csv(BytesIO(content), dtype=dtypes, **options)
        if not rows.index.equals(pd.RangeIndex(len(rows))):  # pandas turns surplus fields into an index
            raise ValueError("more fields than columns")
        rows = rows[list(present)].rename(columns=present)
        if rows.empty or rows[[name for name in rows if name in NUMBERS]].isna().any(axis=None):
            raise ValueError("no rows, or a line without all its numbers")
    return rows, [name for name in names if name not in present]


def _encoding(content: bytes) -> str:
    """UTF-8 if the bytes are valid UTF-8, else Latin-1, which the older editions use."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def _load_tables(layout: Layout, ratings_path: Path, visit: Literal["instant", "day"]) -> Dataset:
    """Read a layout that consists of text tables."""
    ratings, dropped_columns = _read(layout.ratings, ratings_path)
    report = ImportReport(
        f"MovieLens, {layout.name} layout, {ratings_path.name}",
        rows_read=len(ratings),
        columns_kept=list(layout.ratings.columns),
        columns_dropped=dropped_columns,
    )
    report.notes.append("every rating is an interaction of weight 1, whatever its number of stars")
    films_path = _sibling(layout.films, ratings_path)
    film_ids, catalogue = _films(layout, films_path) if films_path else _rated_films(ratings["item"])
    people_path = _sibling(layout.people, ratings_path) if layout.people else None
    people, devices = np.unique(ratings["user"], return_inverse=True)
    items = pd.Index(film_ids).get_indexer(ratings["item"])
    known = items >= 0
    report.drop(f"film is not in {films_path.name if films_path else 'the catalogue'}", (~known).sum())
    report.rows_kept = int(known.sum())
    seconds = ratings["time"].to_numpy()[known].astype(np.int64)
    lines = Lines(devices[known], items[known].astype(np.int64), seconds, np.ones(report.rows_kept))
    events = events_in_visits(lines, len(people), catalogue.table[ITEM], visit, report)
    groups = _groups(layout.people, people_path, people, report) if layout.people and people_path else None
    return Dataset(NAME, catalogue, events, report, groups, catalogue_from_events=films_path is None)


def _sibling(table: Table, ratings_path: Path) -> Path | None:
    """The table's file, next to the ratings; None if it does not exist."""
    path = ratings_path.with_name(table.file.format(stem=ratings_path.stem))
    return path if path.exists() else None


def _films(layout: Layout, path: Path) -> tuple[npt.NDArray[Any], Catalogue]:
    """Read the ids and the catalogue from a film file, in the order of the ids."""
    films = _read(layout.films, path)[0].sort_values("item", kind="stable", ignore_index=True)
    if films["item"].duplicated().any():
        raise UserError(
            f"{path} lists film {films['item'][films['item'].duplicated()].iloc[0]} twice: keep one"
        )
    genres = _flagged_genres(films, path) if "genres" not in films else films["genres"].fillna("")
    title = films["title"].fillna("")
    year = title.str.extract(r"\((\d{4})\)\s*$")[0]
    if "year" in films:
        year = year.fillna(films["year"].str.extract(r"(\d{4})\s*$")[0])
    table = pd.DataFrame(
        {
            ITEM: films["item"].astype(str),
            TITLE: title.str.strip().where(title.str.strip() != "", "film " + films["item"].astype(str)),
            "genre": [_tuple(names.split(layout.genre_separator)) for names in genres],
            "decade": [_tuple([decade]) for decade in (year.str[:3] + "0s").fillna("")],
        }
    )
    return films["item"].to_numpy(), Catalogue(table)


def _tuple(values: list[str]) -> tuple[str, ...]:
    """An attribute cell, without the values that stand for "unknown"."""
    return tuple(value for value in values if value not in NO_GENRE)


def _flagged_genres(films: pd.DataFrame, path: Path) -> pd.Series:
    """Join the genres whose 0/1 column is set with "|", as in the later editions."""
    with _reading(path):
        if not films[GENRES].isin(["0", "1"]).all(axis=None):
            raise ValueError("a genre is neither 0 nor 1")
    flags = (films[GENRES] == "1").to_numpy(object)  # [films, genres]; False · "War|" is ""
    return pd.Series(flags @ np.array([f"{genre}|" for genre in GENRES], dtype=object))


def _rated_films(rated: pd.Series) -> tuple[npt.NDArray[Any], Catalogue]:
    """Ids and catalogue of the films that were rated, in the order of their ids, without attributes."""
    film_ids = np.unique(rated)
    return film_ids, _untitled(film_ids)


def _untitled(film_ids: npt.NDArray[Any]) -> Catalogue:
    """Build a catalogue of films of which only the ids are known."""
    names = pd.Series(film_ids).astype(str)
    return Catalogue(pd.DataFrame({ITEM: names, TITLE: "film " + names}))


def _groups(table: Table, path: Path, people: npt.NDArray[Any], report: ImportReport) -> pd.DataFrame:
    """Gender, age band and occupation of each device; "unknown" if the file does not have them."""
    rows, dropped_columns = _read(table, path)
    if rows["user"].duplicated().any():
        raise UserError(f"{path} lists a person twice: keep one line per person")
    report.columns_never_read |= dict.fromkeys(dropped_columns, ZIP_CODE_REASON)
    names = {str(code): name for code, name in enumerate(OCCUPATIONS)}
    groups = pd.DataFrame(
        {
            "gender": rows["gender"].to_numpy(),
            "age": pd.cut(rows["age"], AGE_EDGES, right=False, labels=AGE_BANDS).astype(str).to_numpy(),
            "occupation": rows["occupation"].replace(names).to_numpy(),
        },
        index=rows["user"],
    )
    report.notes.append(f"gender, age and occupation from {path.name} are for audits: nothing trains on them")
    return groups.reindex(people).fillna("unknown").reset_index(drop=True)


def _load_ncf_split(path: Path) -> Dataset:
    """Read the NCF paper's split: every pair, one held-out item per person, and 99 negatives each.

    Device = userID − 1; item = the place of movieID in order of first appearance in the pairs. This use of
    the row order is necessary, because the published test and its negatives identify items by it. Otherwise
    the row order has no meaning, so all that a person rated is one visit.
    """
    pairs_path, test_path, negatives_path = _ncf_files(path)
    with _reading(pairs_path):
        pairs = pd.read_parquet(pairs_path, columns=["userID", "movieID"])
        devices = pd.to_numeric(pairs["userID"]).to_numpy(np.int64) - 1
        if not len(devices) or devices.min() < 0:
            raise ValueError("user ids start at 1")
    items, movies = pd.factorize(pairs["movieID"])
    published = _ncf_test(test_path, negatives_path, int(devices.max()) + 1, len(movies))
    report = ImportReport(
        f"MovieLens, split of the NCF paper, {pairs_path.name}",
        rows_read=len(pairs),
        columns_kept=["userID", "movieID"],
    )
    train = items != published.items[devices]
    report.drop("held out by the published split", (~train).sum())
    report.rows_kept = int(train.sum())
    report.notes.append(
        "the split has no times for its training pairs: what a person rated is one visit, without an order"
    )
    own_item = (published.negatives == published.items[:, None]) & (published.negatives >= 0)
    if own_item.any():
        report.notes.append(
            f"{own_item.sum()} negatives equal the test item of their own person and are left out"
        )
    published = PublishedTest(published.items, np.where(own_item, np.int32(-1), published.negatives))
    lines = Lines(devices[train], items[train], np.zeros(report.rows_kept), np.ones(report.rows_kept))
    events = lines.without_times(len(published.items))
    catalogue = _untitled(np.asarray(movies))
    return Dataset(
        NAME, catalogue, events, report, published=published, times_known=False, catalogue_from_events=True
    )


def _ncf_files(path: Path) -> tuple[Path, Path, Path]:
    """The three files of the split. Raises UserError if one is missing."""
    folder = path.parent if path.is_file() else path
    files = [_main_file(folder, pattern) for pattern in (NCF_PAIRS, NCF_TEST, NCF_NEGATIVES)]
    pairs, test, negatives = files
    if pairs is None or test is None or negatives is None:
        raise UserError(
            f"{folder} holds {NCF_PAIRS} but not both of {NCF_TEST} and {NCF_NEGATIVES}: put both next to it"
        )
    return pairs, test, negatives


def _ncf_test(test_path: Path, negatives_path: Path, num_devices: int, num_items: int) -> PublishedTest:
    """Read the held-out item and the negatives of every device; −1 if there is none."""
    with _reading(test_path):
        test = pd.read_csv(test_path, sep="\t", header=None, names=["user", "item", "rating", "time"])
        users = test["user"].to_numpy(np.int64)
        own = test["item"].to_numpy(np.int64)
        _check_ids(users, num_devices)
        _check_ids(own, num_items)
        if len(np.unique(users)) != len(users) or test.isna().any(axis=None):
            raise ValueError("a person twice, or a line cut short")
    with _reading(negatives_path):
        lines = pd.read_csv(negatives_path, sep="\t", header=None)
        keys = lines[0].str.extract(r"^\((\d+),(\d+)\)$").astype(np.int64).to_numpy()  # [people, 2]
        drawn = lines.iloc[:, 1:].astype(np.int64).to_numpy()  # [people, negatives]; raises on a short line
        _check_ids(drawn, num_items)
        if drawn.shape[1] > NUM_NEGATIVES:
            raise ValueError("more negatives than the split has")
    if not np.array_equal(keys, np.column_stack([users, own])):
        raise UserError(
            f"{negatives_path} and {test_path.name} do not hold out the same items: download both again"
        )
    items = np.full(num_devices, -1, dtype=np.int32)
    items[users] = own
    negatives = np.full((num_devices, NUM_NEGATIVES), -1, dtype=np.int32)
    negatives[users, : drawn.shape[1]] = drawn
    return PublishedTest(items, negatives)


def _check_ids(ids: npt.NDArray[Any], count: int) -> None:
    """Raise ValueError unless every id is one of 0 … count−1."""
    if ids.size and (ids.min() < 0 or ids.max() >= count):
        raise ValueError("an id is out of range")
