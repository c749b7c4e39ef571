"""Tables on disk: detect a file's format, read its header, and read only the columns that are requested.

CSV and Parquet are recognised by their content. The header is read first, and a cell only if its column is
requested. Excel files can only be read whole.
"""

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from terrycloth.experiments.datasets.cell_values import as_text
from terrycloth.models.errors import UserError

# Column names recognised without a flag, best first. Case, spaces, dashes and underscores are ignored.
USUAL_NAMES = {
    "shopper": "shopper shopperid customer customerid customernumber customerno customerkey client clientid "
    "user userid household householdid householdkey buyer buyerid member memberid visitor visitorid",
    "item": "item itemid itemnumber itemno sku product productid productcode productsku article articleid "
    "articlenumber articleno stockcode lineitemsku ean gtin asin",
    "time": "time timestamp datetime date orderdate ordertime orderdatetime orderedat createdat purchasedate "
    "purchasedat invoicedate transactiondate paidat eventtime",
    "weight": "weight quantity qty count units lineitemquantity rating",
    "order": "orderid ordernumber orderno ordernr ordernum orderkey orderref orderreference ordercode "
    "invoiceid invoicenumber invoiceno invoicenr receiptid receiptnumber receiptno receiptnr basketid "
    "basketnumber basketno transactionid transactionnumber transactionno transactionnr cartid checkoutid "
    "purchaseid saleid salesid bestellnummer bestellnr bestellid auftragsnummer auftragsnr rechnungsnummer "
    "rechnungsnr belegnummer belegnr bonnummer bonnr kassenbon commandeid idcommande numerocommande "
    "numérocommande numerodecommande numérodecommande numcommande nocommande ncommande nfacture "
    "numerofacture numérofacture order invoice receipt basket transaction cart bestellung auftrag rechnung "
    "commande facture",
    "title": "title name producttitle productname itemname articlename description productdescription",
}

# Headers of columns that are never read: the reason, stems that may be anywhere in the header, and words that
# must stand alone. The first row that matches gives the reason, so "ip address" comes before "address".
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
# A header that ends in "name" and contains one of these words is not a person's name.
NAMED_THINGS = "product item article sku variant brand category colour color shop store"

EXAMPLE_ROWS = 3
PARQUET_MAGIC = b"PAR1"
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f"))
MISFIT = "another number of cells than the header"


# --- Files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableFile:
    """A table on disk of which only the header has been read. delimiter: None for Parquet."""

    path: Path
    columns: list[str]
    delimiter: str | None = None
    encoding: str = "utf-8"
    header_line: int = 0

    @property
    def decimal_comma(self) -> bool:
        """Whether 1,5 is a number: in files whose cells are separated by semicolons."""
        return self.delimiter == ";"

    @property
    def listed(self) -> str:
        """The list of its columns, for an error message."""
        return "it has " + ", ".join(column for column in self.columns if column)

    def place(self, rows: pd.Index) -> str:
        """The place of these rows: "lines 3, 13, 14, …" of a CSV file (its header is line 1), or "row 2"."""
        word = ("row" if self.delimiter is None else "line") + ("s" if len(rows) > 1 else "")
        shown = ", ".join(str(row) for row in rows[:EXAMPLE_ROWS])
        return f"{word} {shown}{', …' if len(rows) > EXAMPLE_ROWS else ''}"


def open_table(path: Path) -> TableFile:
    """Detect a file's format and read its header. Raises UserError if it is not a CSV or Parquet table."""
    if not path.is_file():
        raise UserError(f"{path} is not a file: check the path")
    with path.open("rb") as file:
        start = file.read(len(PARQUET_MAGIC))
    if not start:
        raise UserError(f"{path} is empty: export it again")
    if start == PARQUET_MAGIC:
        return _open_parquet(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise UserError(f"{path} is not Parquet despite its name: export it again, or name it .csv")
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
            raise UserError(f"{path} holds one line or none: it needs a line of column names, then the rows")
    delimiter = max(",;\t", key=lambda character: len(_split_header(header, character)))
    return TableFile(path, _split_header(header, delimiter), delimiter, encoding, lines_before + 1)


def _split_header(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter))
    return [cell.strip() for cell in cells]


def _find_encoding(path: Path) -> str:
    """The first of UTF-8 (with or without a byte order mark), Windows-1252 and Latin-1 that decodes the file.

    Reads the file in blocks. Raises UserError if it is not a text file.
    """
    possible = ["utf-8", "cp1252", "latin-1"]
    decoders = {encoding: codecs.getincrementaldecoder(encoding)() for encoding in possible}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if len(block.translate(None, CONTROL_BYTES)) < len(block):
                raise UserError(f"{path} is not a text file: use CSV saved as UTF-8, or Parquet")
            possible = [encoding for encoding in possible if _decodes(decoders[encoding], block)]
    return next(encoding for encoding in possible if _decodes(decoders[encoding], b"", final=True))


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def read_columns(table: TableFile, positions: Sequence[int]) -> tuple[pd.DataFrame, pd.Series]:
    """Read the columns at these positions and no others.

    Returns the cells, with columns numbered from 0 in the requested order, and a mask of misfits: rows with
    more or fewer cells than the header. A misfit's cells may be in the wrong columns and are left missing.
    The index of both is the row's number in the file. CSV cells are stripped strings, and missing if blank;
    Parquet cells keep their type. Raises UserError if the file is damaged.
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
        # The parser's own message may quote the file, so it is not passed on.
        raise UserError(f"{table.path} cannot be read as a table: it is damaged, export it again") from None
    lines = pd.RangeIndex(first, first + len(cells) + len(misfits))
    frame = cells.to_pandas(ignore_metadata=True)
    frame.columns = pd.RangeIndex(len(positions))
    if table.delimiter is not None:
        frame = frame.apply(as_text)
    frame.index = lines.difference(misfits)
    return frame.reindex(lines), pd.Series(lines.isin(misfits), index=lines)


def _read_csv(table: TableFile, names: list[str]) -> tuple[pa.Table, list[int]]:
    """Read the columns that are named by their positions; also return the line numbers of the misfits."""
    misfits: list[int] = []
    never_closed: list[int] = []

    def note_misfit(row: arrow_csv.InvalidRow) -> str:
        if row.text.count('"') % 2:  # the row has absorbed the lines after it
            never_closed.append(row.number)
        misfits.append(row.number)
        return "skip"

    cells = arrow_csv.read_csv(
        table.path,
        arrow_csv.ReadOptions(
            use_threads=False,  # with threads the parser does not report line numbers
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
        raise UserError(
            f"{table.path}, line {never_closed[0]}: a quotation mark is opened but not closed: correct it"
        )
    return cells, misfits


def read_sheets(path: Path) -> list[pd.DataFrame]:
    """Read every sheet of an Excel file, in order; the first row of a sheet holds the column names.

    Raises UserError if the file cannot be read or openpyxl is not installed.
    """
    try:
        sheets = pd.read_excel(path, sheet_name=None, dtype=object, engine="openpyxl")
    except ImportError:
        raise UserError(f'{path} is an Excel file: pip install "terrycloth[excel]" to read it') from None
    except Exception:  # openpyxl raises many kinds of errors
        raise UserError(f"{path} is not an Excel file, or is damaged: download it again") from None
    return [sheet.rename(columns=str) for sheet in sheets.values()]


# --- Headers ----------------------------------------------------------------------------------------------


def simplify(header: str) -> str:
    """A header in lower case without spaces, dashes and other marks: "Customer-ID" → "customerid"."""
    return "".join(character for character in header.casefold() if character.isalnum())


def why_private(header: str) -> str | None:
    """Why a column with this header is never read; None if it may be read."""
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


def find_column(columns: Sequence[str], names: str) -> int | None:
    """The position of the column with the first of these names that occurs; None if none of them does.

    names: simplified names, separated by spaces.
    """
    plain = [simplify(column) for column in columns]
    return next((plain.index(name) for name in names.split() if name in plain), None)
