"""`--data csv`: a brand's own order export and catalogue, as CSV or Parquet.

An export holds more about people than a recommender needs. Four columns are read: shopper, item, time and
weight. The rest never leave the file, and the report names them. Shopper ids are replaced by a keyed hash as
they are read, and the key is thrown away.
"""

import codecs
import csv
import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from client.events import Events
from experiments.datasets.dataset import DataOptions, Dataset, ImportReport
from models.catalogue import ITEM, TITLE, Catalogue
from models.errors import UserError

Array = npt.NDArray[Any]

# Column names that are understood without a flag, best first; case, spaces, dashes, underscores do not count.
USUAL_NAMES = {
    "shopper": "shopper shopperid customer customerid customernumber customerno customerkey client clientid "
    "user userid household householdid householdkey buyer buyerid member memberid visitor visitorid",
    "item": "item itemid itemnumber itemno sku product productid productcode productsku article articleid "
    "articlenumber articleno stockcode lineitemsku ean gtin asin",
    "time": "time timestamp datetime date orderdate ordertime orderdatetime orderedat createdat purchasedate "
    "purchasedat invoicedate transactiondate paidat eventtime",
    "weight": "weight quantity qty count units lineitemquantity rating",
    "title": "title name producttitle productname itemname articlename description productdescription",
}

# Headers of columns that are never read: why, stems looked for anywhere in the header, and words that must
# stand alone. The first line that fits gives the reason: "ip address" comes before "address".
PRIVATE_HEADERS = (
    ("looks like a network address", "ipaddress useragent deviceid cookie", "ip ipv4 ipv6 mac"),
    ("looks like an e-mail address", "email", "mail"),
    ("looks like a telephone number", "phone", "tel mobile cell fax whatsapp"),
    ("looks like a birth date or another personal trait", "birth", "dob born age gender sex"),
    ("looks like a payment detail", "creditcard cardnumber", "iban bic cvv card"),
    (
        "looks like an address",
        "address street postcode postalcode zipcode housenumber latitude longitude",
        "city town zip postal county lat lon lng",
    ),
    (
        "looks like a person's name",
        "firstname lastname surname forename fullname username nickname",
        "name initials",
    ),
)
# … but a header that ends in "name" and names one of these things is not a person's.
NAMED_THINGS = "product item article sku variant brand category colour color shop store"

# Catalogue columns that identify rather than describe: their numbers are no amounts and are never binned.
IDENTIFIERS = "id ean gtin upc isbn asin barcode number no code index row url"

MOST_DISTINCT_NUMBERS = 20  # an attribute with more different numbers than this is binned
MOST_BINS = 5
EXAMPLE_LINES = 3
PARQUET_MAGIC = b"PAR1"
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f"))


def load(options: DataOptions) -> Dataset:
    """The orders at `options.path` over the items at `options.catalogue`.

    Devices are numbered by first appearance in the file among the rows that are kept.
    Raises UserError for all that the user can mend; no error or note holds a shopper or what one did.
    """
    if options.path is None:
        raise UserError("--data csv needs --path orders.csv: the order export")
    if options.catalogue is None:
        raise UserError("--data csv needs --catalogue items.csv: the items with their titles and attributes")
    orders_file = open_table(options.path)
    report = ImportReport(source=options.path.name)
    columns = choose_columns(orders_file, options, report)
    catalogue = read_catalogue(options.catalogue, orders_file.columns[columns["item"]], report)
    rows = read_orders(orders_file, columns, report)
    kept = drop_bad_rows(rows, orders_file, options.strict, report)
    return Dataset("csv", catalogue, order_events(kept, catalogue, options.catalogue), report)


# --- Files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableFile:
    """A table on disk of which only the header was read. CSV has a delimiter, Parquet has none."""

    path: Path
    columns: list[str]
    delimiter: str | None = None
    encoding: str = "utf-8"
    header_line: int = 0

    @property
    def row_word(self) -> str:
        """What a row's number counts: lines of a CSV file (the header is line 1), rows of a Parquet file."""
        return "row" if self.delimiter is None else "line"


def open_table(path: Path) -> TableFile:
    """Find out what kind of table a file is and read its header; UserError where it is no table."""
    if not path.is_file():
        raise UserError(f"{path} is not a file: check the path")
    with path.open("rb") as file:
        start = file.read(len(PARQUET_MAGIC))
    if not start:
        raise UserError(f"{path} is empty: export it again")
    if start == PARQUET_MAGIC:
        return _open_parquet(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise UserError(f"{path} is not Parquet though it is called so: export it again, or name it .csv")
    return _open_csv(path)


def _open_parquet(path: Path) -> TableFile:
    try:
        metadata = parquet.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is a damaged Parquet file: export it again") from error
    if metadata.num_rows == 0:
        raise UserError(f"{path} holds column names but no rows: export it again")
    return TableFile(path, list(metadata.schema.to_arrow_schema().names))


def _open_csv(path: Path) -> TableFile:
    encoding = _find_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        lines_before, header = 0, file.readline()
        while header and not header.strip():
            lines_before, header = lines_before + 1, file.readline()
        if not any(line.strip() for line in file):
            raise UserError(
                f"{path} holds one line or none: it needs a line of column names and a row for each order"
            )
    delimiter = max(",;\t", key=lambda character: len(_split_header(header, character)))
    return TableFile(path, _split_header(header, delimiter), delimiter, encoding, lines_before + 1)


def _split_header(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter))
    return [cell.strip() for cell in cells]


def _find_encoding(path: Path) -> str:
    """UTF-8 (with or without a byte order mark), else the Windows code page, else Latin-1; read in blocks."""
    possible = ["utf-8", "cp1252", "latin-1"]
    decoders = {encoding: codecs.getincrementaldecoder(encoding)() for encoding in possible}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if len(block.translate(None, CONTROL_BYTES)) < len(block):
                raise UserError(f"{path} is not a text file: give CSV saved as UTF-8, or Parquet")
            possible = [encoding for encoding in possible if _decodes(decoders[encoding], block)]
    return next(encoding for encoding in possible if _decodes(decoders[encoding], b"", final=True))


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def read_columns(table: TableFile, positions: Sequence[int]) -> tuple[pd.DataFrame, pd.Series]:
    """Read the columns at these positions and no other.

    Returns the cells, columns 0 … in the order asked for, and a mask of misfits: rows with more or fewer
    cells than the header, whose cells may stand in the wrong columns and are left missing. The index of both
    is the row's number in the file. CSV cells are stripped strings, blank ones missing; Parquet cells keep
    their type.
    """
    misfits: list[int] = []
    try:
        if table.delimiter is None:
            names = [table.columns[position] for position in positions]
            cells, first = parquet.read_table(table.path, columns=names).select(names), 1
        else:
            cells, misfits = _read_csv(table, [str(position) for position in positions])
            first = table.header_line + 1
    except (pa.ArrowException, OSError):
        # The parser's own words may quote the file, so they are not passed on.
        raise UserError(f"{table.path} cannot be read as a table: it is damaged, export it again") from None
    lines = pd.RangeIndex(first, first + len(cells) + len(misfits))
    frame = cells.to_pandas(ignore_metadata=True)
    frame.columns = pd.RangeIndex(len(positions))
    if table.delimiter is not None:
        frame = frame.apply(as_text)
    frame.index = lines.difference(misfits)
    return frame.reindex(lines), pd.Series(lines.isin(misfits), index=lines)


def _read_csv(table: TableFile, names: list[str]) -> tuple[pa.Table, list[int]]:
    """The columns whose positions these are, and the lines that are left out as misfits."""
    misfits: list[int] = []
    never_closed: list[int] = []

    def note_misfit(row: arrow_csv.InvalidRow) -> str:
        if row.text.count('"') % 2:  # it has swallowed the lines after it
            never_closed.append(row.number)
        misfits.append(row.number)
        return "skip"

    cells = arrow_csv.read_csv(
        table.path,
        arrow_csv.ReadOptions(
            use_threads=False,  # with threads the parser does not know its line numbers
            skip_rows=table.header_line,
            column_names=[str(position) for position in range(len(table.columns))],
            encoding=table.encoding,
        ),
        arrow_csv.ParseOptions(
            delimiter=table.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,  # they count as lines
            invalid_row_handler=note_misfit,
        ),
        arrow_csv.ConvertOptions(
            include_columns=names,
            column_types={name: pa.string() for name in names},
            strings_can_be_null=True,
        ),
    )
    if never_closed:
        raise UserError(f"{table.path}, line {never_closed[0]}: a quotation mark is opened and never closed")
    return cells, misfits


# --- Columns ----------------------------------------------------------------------------------------------


def simplify(header: str) -> str:
    """A header without case, spaces, dashes, underscores and other marks: "Customer-ID" → "customerid"."""
    return "".join(character for character in header.casefold() if character.isalnum())


def why_private(header: str) -> str | None:
    """Why a column of this header is never read, or None where nothing speaks against it."""
    plain = simplify(header)
    words = set(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header).casefold()))
    if plain.endswith("name"):
        if any(thing in plain for thing in NAMED_THINGS.split()):
            return None
        words.add("name")
    for reason, stems, alone in PRIVATE_HEADERS:
        if words & set(alone.split()) or any(stem in plain for stem in stems.split()):
            return reason
    return None


def find_column(columns: Sequence[str], names: Iterable[str]) -> int | None:
    """The position of the first of these names that a column has, or None."""
    plain = [simplify(column) for column in columns]
    return next((plain.index(name) for name in names if name in plain), None)


def choose_columns(table: TableFile, options: DataOptions, report: ImportReport) -> dict[str, int]:
    """Which column of the orders plays which part; files every other column in the report, unread."""
    if any(_looks_like_a_value(column) for column in table.columns):
        # Not a word of what it says: it may be a shopper's row.
        raise UserError(f"the first line of {table.path} holds values: put a line of column names before it")
    named = {
        "shopper": options.shopper_column,
        "item": options.item_column,
        "time": options.time_column,
        "weight": options.weight_column,
    }
    chosen: dict[str, int] = {}
    for part, name in named.items():
        position = (
            _named_column(table, part, name)
            if name
            else find_column(table.columns, USUAL_NAMES[part].split())
        )
        if position is not None:
            chosen[part] = position
        elif part in ("shopper", "item"):
            raise UserError(
                f"{table.path} has no column that is known to hold the {part}: "
                f"say which with --{part}-column ({_list_columns(table)})"
            )
    _check_parts(table, chosen)
    _file_columns(table, chosen, report)
    return chosen


def _looks_like_a_value(header: str) -> bool:
    return "@" in header or re.fullmatch(r"[+-]?\d[\d\s.,:/TZ+-]*", header) is not None


def _list_columns(table: TableFile) -> str:
    return "it has " + ", ".join(column for column in table.columns if column)


def _named_column(table: TableFile, part: str, name: str) -> int:
    position = (
        table.columns.index(name) if name in table.columns else find_column(table.columns, [simplify(name)])
    )
    if position is None:
        raise UserError(f"{table.path} has no column {name!r} for --{part}-column: {_list_columns(table)}")
    reason = why_private(table.columns[position])
    # A shopper is hashed as it is read; the other parts are used as they are.
    if reason and part != "shopper":
        raise UserError(f"--{part}-column {name!r} {reason}, which is never read: name another column")
    return position


def _check_parts(table: TableFile, chosen: dict[str, int]) -> None:
    parts = list(chosen)
    for part, position in chosen.items():
        earlier = [other for other in parts[: parts.index(part)] if chosen[other] == position]
        if earlier:
            raise UserError(
                f"column {table.columns[position]!r} cannot be both the {earlier[0]} and the {part}: "
                f"name another with --{part}-column"
            )


def _file_columns(table: TableFile, chosen: dict[str, int], report: ImportReport) -> None:
    report.columns_kept = [table.columns[position] for position in chosen.values()]
    for position, column in enumerate(table.columns):
        if position in chosen.values():
            continue
        if reason := why_private(column):
            report.columns_never_read[column] = reason
        else:
            report.columns_dropped.append(column or f"(column {position + 1}, without a name)")
    shopper = table.columns[chosen["shopper"]]
    if reason := why_private(shopper):
        report.notes.append(
            f"the shopper column {shopper!r} {reason}: it was hashed as it was read, and not kept"
        )
    if "time" not in chosen:
        report.notes.append("no time column: the order of the rows is taken for the order of the purchases")
    if "weight" not in chosen:
        report.notes.append("no weight column: every row weighs 1")


# --- Cells ------------------------------------------------------------------------------------------------


def as_text(column: pd.Series) -> pd.Series:
    """Stripped strings, blank cells missing; whole numbers lose the ".0" that missing cells gave them."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.mask(text == "")


def as_numbers(column: pd.Series, decimal_comma: bool = False) -> pd.Series:
    """float64; what is no number is NaN. A decimal comma is understood where commas do not part cells."""
    if decimal_comma and not pd.api.types.is_numeric_dtype(column):
        column = column.str.replace(",", ".", regex=False)
    return pd.to_numeric(column, errors="coerce").astype("float64")


def pseudonyms(shoppers: pd.Series) -> pd.Series:
    """Replace ids by a hash whose key is drawn here and never kept; missing ids stay missing.

    Without the key nobody can hash a guessed customer number to find its shopper, this program included.
    """
    key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
    codes, distinct = pd.factorize(as_text(shoppers))
    hashes = [hashlib.blake2b(str(one).encode(), key=key, digest_size=16).hexdigest() for one in distinct]
    return pd.Series(
        pd.Categorical.from_codes(codes, categories=pd.Index(hashes, dtype=str)), index=shoppers.index
    )


def as_times(column: pd.Series) -> tuple[pd.Series, str | None]:
    """Times as datetime64 UTC, NaT where unreadable, and a note where the reading is a guess.

    Understood: ISO 8601; seconds, milli-, micro- or nanoseconds since 1970; 20240531; and 31/05/2024 14:00
    with slashes, dots or dashes, day or month first, whichever reads more of the rows. Without a zone: UTC.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return pd.to_datetime(column, utc=True), None
    text = as_text(column)
    numbers = as_numbers(text)
    if numbers.notna().sum() * 2 > text.notna().sum():
        return _times_from_numbers(numbers), None
    times = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    unread = times.isna() & text.notna()
    if not unread.any():
        return times, None
    other, note = _times_from_day_and_month(text[unread])
    return times.fillna(other), note


def _times_from_numbers(numbers: pd.Series) -> pd.Series:
    size = numbers.abs().median()
    if 19_000_101 <= size <= 21_001_231:
        dates = numbers.astype("Int64") if (numbers.dropna() % 1 == 0).all() else numbers
        return pd.to_datetime(dates.astype("string"), format="%Y%m%d", errors="coerce", utc=True)
    a_second = 10.0 ** (3 * sum(size >= bound for bound in (1e11, 1e14, 1e17)))
    seconds = numbers / a_second
    return pd.to_datetime(seconds.where(seconds.abs() < 7e9).round(), unit="s", errors="coerce", utc=True)


DAY_AND_MONTH = (
    r"^(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})[./-](?P<year>\d{4})"
    r"(?:[ T,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second_hand>\d{2}))?(?:\.\d+)?"
    r"\s*(?P<half>[AaPp][Mm])?)?$"
)


def _times_from_day_and_month(text: pd.Series) -> tuple[pd.Series, str | None]:
    parts = text.str.extract(DAY_AND_MONTH)
    numbers = parts.drop(columns=["mark", "half"]).apply(pd.to_numeric, errors="coerce").astype("float64")
    first_is_day = int((numbers["first"] > 12).sum())  # rows that no month-first reading could read
    second_is_day = int((numbers["second"] > 12).sum())
    day_first = first_is_day >= second_is_day
    note = None
    if first_is_day == second_is_day and (parts["mark"] != ".").any() and numbers["first"].notna().any():
        note = "the dates leave open whether day or month comes first: day taken first (write 2024-05-31)"
    afternoon = parts["half"].str.lower()
    hour = numbers["hour"].fillna(0)
    hour = hour.where(afternoon.isna(), hour % 12 + 12 * (afternoon == "pm").fillna(False).astype("float64"))
    fields = pd.DataFrame(
        {
            "year": numbers["year"],
            "month": numbers["second" if day_first else "first"],
            "day": numbers["first" if day_first else "second"],
            "hour": hour,
            "minute": numbers["minute"].fillna(0),
            "second": numbers["second_hand"].fillna(0),
        }
    )
    return pd.to_datetime(fields, errors="coerce", utc=True), note


# --- Rows -------------------------------------------------------------------------------------------------

EMPTY_ROW = "an empty row"
MISFIT = "another number of cells than the header"


def read_orders(table: TableFile, columns: dict[str, int], report: ImportReport) -> pd.DataFrame:
    """One row a row of the file, good or bad: shopper (hashed), item, time, weight, misfit and blank."""
    cells, misfit = read_columns(table, list(columns.values()))
    cells.columns = pd.Index(list(columns))
    report.rows_read = len(cells)
    rows = pd.DataFrame({"misfit": misfit, "blank": cells.isna().all(axis=1)})
    rows["shopper"] = pseudonyms(cells.pop("shopper"))
    rows["item"] = as_text(cells["item"])
    if "time" in columns:
        times, note = as_times(cells["time"])
        report.notes += [note] if note else []
    else:
        times = pd.Series(pd.to_datetime(np.arange(len(cells)), unit="s", utc=True), index=cells.index)
    rows["time"] = times
    rows["weight"] = np.float32(1)
    if "weight" in columns:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is no weight
            rows["weight"] = as_numbers(cells["weight"], table.delimiter == ";").astype("float32")
    return rows


def drop_bad_rows(rows: pd.DataFrame, table: TableFile, strict: bool, report: ImportReport) -> pd.DataFrame:
    """Leave out rows that cannot be used, each counted under the first reason that fits.

    With `strict` the first bad row is a UserError; an empty row is not an error.
    """
    weight = rows["weight"]
    reasons = {
        EMPTY_ROW: rows["blank"] & ~rows["misfit"],
        MISFIT: rows["misfit"],
        "no shopper": rows["shopper"].isna(),
        "no item": rows["item"].isna(),
        "no time that can be read": rows["time"].isna(),
        "a weight that is no number": ~np.isfinite(weight),
        "a weight below zero": weight < 0,
        "a weight of zero": weight == 0,
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    bad = reason != ""
    if strict and (wrong := bad & (reason != EMPTY_ROW)).any():
        first = int(np.argmax(wrong))
        raise UserError(
            f"{table.path}, {table.row_word} {rows.index[first]}: {reason[first]} "
            "(mend it, or leave out --strict to drop such rows)"
        )
    for name in reasons:
        lines = rows.index[reason == name]
        report.drop(name, len(lines))
        if len(lines):
            report.notes.append(f"dropped for {name}: {_examples(lines, table.row_word)}")
    report.rows_kept = int((~bad).sum())
    if report.rows_kept == 0:
        counts = ", ".join(f"{name}: {count}" for name, count in report.rows_dropped.items())
        raise UserError(
            f"{table.path} has no row that can be used ({counts}): check the columns that were taken"
        )
    kept: pd.DataFrame = rows.loc[~bad]
    return kept


def _examples(lines: pd.Index, word: str) -> str:
    shown = ", ".join(str(line) for line in lines[:EXAMPLE_LINES])
    return f"{word}{'s' if len(lines) > 1 else ''} {shown}{', …' if len(lines) > EXAMPLE_LINES else ''}"


def order_events(rows: pd.DataFrame, catalogue: Catalogue, catalogue_path: Path) -> Events:
    """Good rows as events. UserError where an item is not in the catalogue."""
    items = pd.Index(catalogue.table[ITEM]).get_indexer(pd.Index(rows["item"].astype(str)))
    missing = rows["item"][items < 0].drop_duplicates()
    if len(missing):
        # Item ids are public, but a cell that slipped into this column may not be.
        example = next((f", {str(item)[:40]!r} for one" for item in missing if "@" not in str(item)), "")
        raise UserError(
            f"{catalogue_path} lacks {len(missing)} of the items that were ordered{example}: "
            "add them to the catalogue, or take their rows out of the orders"
        )
    return events_of(rows, items)


def events_of(rows: pd.DataFrame, items: Array) -> Events:
    """Events of rows with the columns shopper (hashed), time and weight, and their items [rows]."""
    devices, shoppers = pd.factorize(rows["shopper"])  # by first appearance: the hash gives no lasting order
    seconds = rows["time"].dt.tz_localize(None).dt.as_unit("s").to_numpy().astype(np.int64)
    return Events.from_columns(devices, items, seconds, rows["weight"].to_numpy(), len(shoppers))


# --- The catalogue ----------------------------------------------------------------------------------------


def read_catalogue(path: Path, item_column: str, report: ImportReport) -> Catalogue:
    """Items, titles and attributes, in the file's order; what was left out goes into the report's notes.

    The item column is the one called as in the orders, else one of the usual names.
    """
    table = open_table(path)
    item = find_column(table.columns, [simplify(item_column), *USUAL_NAMES["item"].split()])
    if item is None:
        raise UserError(
            f"{path} has no item column: call one {item_column!r}, as in the orders ({_list_columns(table)})"
        )
    title = find_column(
        table.columns,
        [name for name in USUAL_NAMES["title"].split() if name != simplify(table.columns[item])],
    )
    cells, misfit = read_columns(table, range(len(table.columns)))
    full = misfit | ~cells.isna().all(axis=1)
    cells, misfit = cells[full], misfit[full]
    _check_items(cells[item], misfit, table)
    ids = as_text(cells[item])
    frame = pd.DataFrame({ITEM: ids.astype(str)})
    frame[TITLE] = frame[ITEM] if title is None else as_text(cells[title]).fillna(ids).astype(str)
    unique = []
    for position in range(len(table.columns)):
        if position in (item, title) or not table.columns[position]:
            continue
        values = attribute_values(cells[position], table.columns[position], table.delimiter == ";")
        if values is None:
            unique.append(table.columns[position])
        else:
            frame[_free_name(table.columns[position], frame.columns)] = values
    attributes = ", ".join(frame.columns[2:]) or "no attributes"
    report.notes.append(f"catalogue {path.name}: {len(frame)} items with {attributes}")
    if title is None:
        report.notes.append(f"{path.name} has no title column: the item ids are shown instead")
    if unique:
        report.notes.append(f"left out of the catalogue, different for every item: {', '.join(unique)}")
    return Catalogue(frame.reset_index(drop=True))


def _check_items(items: pd.Series, misfit: pd.Series, table: TableFile) -> None:
    for wrong, reason in ((misfit, MISFIT), (as_text(items).isna(), "no item")):
        if wrong.any():
            lines = _examples(items.index[wrong], table.row_word)
            raise UserError(f"{table.path} has {reason} in {lines}: mend it, every item needs its row")
    if items.empty:
        raise UserError(f"{table.path} holds no items: export it again")
    repeated = items[as_text(items).duplicated()]
    if len(repeated):
        raise UserError(
            f"{table.path} holds item {str(repeated.iloc[0])!r} more than once: keep one row an item"
        )


def _free_name(name: str, taken: pd.Index) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} {number}", number + 1
    return free


def attribute_values(
    cells: pd.Series, header: str, decimal_comma: bool = False
) -> list[tuple[str, ...]] | None:
    """A tuple of values for each cell, or None where no two items share a value.

    "red|blue" and "red; blue" are two values. Numbers of which there are many are binned; long numbers and
    columns called an id, code or the like are identifiers, not amounts.
    """
    text = as_text(cells.map(_joined))
    numbers = as_numbers(text, decimal_comma)
    if _are_amounts(text, numbers, header) and text.nunique() > MOST_DISTINCT_NUMBERS:
        return quantile_bins(numbers)
    split = text.fillna("").str.split(r"[|;]", regex=True)
    attribute = [tuple(dict.fromkeys(one.strip() for one in values if one.strip())) for values in split]
    held = pd.Series([value for values in attribute for value in values], dtype=str)
    return None if len(held) > 1 and held.is_unique else attribute


def _joined(cell: Any) -> Any:
    """A list of values, as Parquet can hold, written as CSV would have it."""
    return "|".join(map(str, cell)) if isinstance(cell, (list, tuple, np.ndarray)) else cell


def _are_amounts(text: pd.Series, numbers: pd.Series, header: str) -> bool:
    """Whether these are numbers that can be binned: none is missing a meaning, none identifies an item."""
    known = numbers.dropna()
    if known.empty or len(known) < text.notna().sum() or not np.isfinite(known).all():
        return False
    called_identifier = set(IDENTIFIERS.split()) & set(re.findall(r"[a-z]+", header.casefold()))
    long = (known >= 1e7).all() and (known % 1 == 0).all()
    return not called_identifier and not long


def quantile_bins(numbers: pd.Series) -> list[tuple[str, ...]]:
    """At most five bins of about as many items each, called by their bounds: ("400–500",); () for NaN.

    The bounds are rounded as far as they stay apart; a number on a bound belongs to the bin above it.
    """
    if numbers.isna().all():
        return [()] * len(numbers)
    exact = np.unique(np.quantile(numbers.dropna().to_numpy(), np.linspace(0, 1, MOST_BINS + 1)))
    if len(exact) == 1:
        only = np.format_float_positional(exact[0], trim="-")
        return [(only,) if known else () for known in numbers.notna()]
    for decimals in range(-9, 13):
        bounds = _round_outwards(exact, decimals)
        if len(np.unique(bounds)) == len(exact):
            break
    names = [np.format_float_positional(bound, trim="-") for bound in bounds]
    labels = [(f"{low}–{high}",) for low, high in pairwise(names)]
    places = np.searchsorted(bounds[1:-1], numbers.to_numpy(), side="right")
    return [labels[place] if known else () for place, known in zip(places, numbers.notna(), strict=True)]


def _round_outwards(bounds: Array, decimals: int) -> Array:
    """Round to so many decimals, but the first bound down and the last one up."""
    step = 10.0**-decimals
    outwards = bounds.copy()
    outwards[0] = np.floor(bounds[0] / step) * step
    outwards[-1] = np.ceil(bounds[-1] / step) * step
    return np.round(outwards, decimals)
