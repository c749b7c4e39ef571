"""Text tables: their encoding, delimiter and header, their cells, and the lines that the rows stand on.

The header is read first, and a cell only if its column is requested.
"""

import codecs
import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from terrycloth.models.errors import UserError

DELIMITERS = "\t;|,"  # of equally good ones the first is taken: a comma may also be a decimal mark
COMPARED_ROWS = 20  # rows by which delimiters are compared
ASCII = bytes(range(128))
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f"))
# The code pages of western and of central Europe, told apart by the letters of their languages.
WINDOWS = {
    "cp1252": (
        "äöüß", "àâæçéèêëîïôùûüÿœ", "áéíñóúüçàèòï", "áâãàçéêíóôõúü", "àèéìíîòóùú", "æøåäöéü", "éëïóöüè",
    ),
    "cp1250": ("ąćęłńóśźż", "áäčďéěíĺľňóôŕřšťúůýž", "áéíóöőúüű", "ăâîşţ", "čćđšž"),
}  # fmt: skip

csv.field_size_limit(2**31 - 1)  # a product's description can be long


@dataclass(frozen=True)
class CsvFormat:
    """How a text file is read. header_line: the last line of the header, counted from 1."""

    columns: list[str]
    delimiter: str
    encoding: str
    header_line: int


def csv_format(path: Path) -> CsvFormat:
    """Find the encoding, the delimiter and the header. Raises UserError if the file is no table of text.

    Blank lines, a line `sep=;` as Excel writes it, and a few lines of one cell before the header are skipped.
    """
    encoding = find_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        first = next((line for line in file if line.strip()), "")
    named = (
        first.strip().strip('"').removeprefix("sep=") if first.strip().strip('"').startswith("sep=") else ""
    )
    delimiters = [named] if len(named) == 1 else ["\t"] if named == "\\t" else list(DELIMITERS)
    found = [(_start_of(path, encoding, delimiter, bool(named)), delimiter) for delimiter in delimiters]
    (header_line, rows), delimiter = max(found, key=lambda each: _regularity(each[0][1]))
    if len(rows) < 2:
        raise UserError(f"{path} holds one line or none: it needs a line of column names, then the rows")
    columns = [" ".join(cell.split()) for cell in rows[0]]
    return CsvFormat(columns, delimiter, encoding, header_line)


def _start_of(path: Path, encoding: str, delimiter: str, skip_first: bool) -> tuple[int, list[list[str]]]:
    """The last line of the header, and the header with the first rows below it, blank ones left out."""
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        filled = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
        rows = list(islice(filled, 1 if skip_first else 0, COMPARED_ROWS + 1))
    sizes = [len(row) for _, row in rows]
    usual = max(sizes, key=sizes.count, default=0)
    # A report may begin with lines of prose; the header is the first row as wide as most.
    prose = 0
    while usual >= 3 and prose < len(rows) and sum(bool(cell.strip()) for cell in rows[prose][1]) == 1:
        prose += 1
    rows = rows[prose:] if prose < len(rows) - 1 and len(rows[prose][1]) == usual else rows
    return (rows[0][0] if rows else 0), [row for _, row in rows]


def _regularity(rows: list[list[str]]) -> float:
    """The number of cells of the header, times the share of rows that have as many."""
    width = len(rows[0]) if rows else 0
    return width * sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0


def find_encoding(path: Path) -> str:
    """UTF-8 or UTF-16 if the bytes say so, else Windows-1252 or Windows-1250, by the language; or Latin-1.

    Reads the file in blocks. Raises UserError if it is not a text file.
    """
    decoders = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", *WINDOWS)}
    counts: Counter[int] = Counter()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if file.tell() == len(block) and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if len(block.translate(None, CONTROL_BYTES)) < len(block):
                raise UserError(
                    f"{path} is not a text file: use CSV saved as UTF-8, Parquet, or Excel's .xlsx"
                )
            decoders = {name: each for name, each in decoders.items() if _decodes(each, block)}
            counts.update(block.translate(None, ASCII))
    possible = [name for name, each in decoders.items() if _decodes(each, b"", final=True)]
    if "utf-8" in possible:
        return "utf-8-sig"
    if not possible:
        return "latin-1"
    return max(possible, key=lambda encoding: _letters_of_one_language(counts, encoding))


def _letters_of_one_language(counts: "Counter[int]", encoding: str) -> int:
    """How many of the bytes that are not ASCII are letters of the same language in this encoding, at best."""
    letters = {byte: bytes([byte]).decode(encoding, "replace").lower() for byte in counts}
    return max(
        sum(count for byte, count in counts.items() if letters[byte] in language)
        for language in WINDOWS[encoding]
    )


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def read_csv(
    path: Path, form: CsvFormat, positions: list[int]
) -> tuple[pa.Table, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Read the cells of these columns as text, stripped, and null if blank.

    Returns the cells of the rows with as many cells as the header; a mask of all rows, true for the others,
    the misfits; and the line that each row begins on, counted from 1: [rows]. Raises UserError if a quotation
    mark is not closed, and pyarrow's errors if the file is damaged.
    """
    misfits: list[int] = []
    never_closed: list[int] = []

    def note_misfit(row: arrow_csv.InvalidRow) -> str:
        if row.text.count('"') % 2:  # the row has absorbed the lines after it
            never_closed.append(row.number)
        misfits.append(row.number)
        return "skip"

    names = [str(position) for position in positions]
    cells = arrow_csv.read_csv(
        path,
        arrow_csv.ReadOptions(
            use_threads=False,  # with threads the parser does not report the numbers of rows
            skip_rows=form.header_line,
            column_names=[str(position) for position in range(len(form.columns))],
            encoding=form.encoding.removesuffix("-sig"),
        ),
        arrow_csv.ParseOptions(
            delimiter=form.delimiter,
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
    places = (
        np.array(misfits, dtype=np.int64) - form.header_line - 1
    )  # a row's number counts the header's lines
    misfit = np.zeros(len(cells) + len(misfits), dtype=np.bool_)
    misfit[places] = True
    lines = row_lines(path, form, len(misfit))
    if never_closed:
        line = lines[never_closed[0] - form.header_line - 1]
        raise UserError(f"{path}, line {line}: a quotation mark is opened but not closed: correct it")
    stripped = [pc.utf8_trim_whitespace(column) for column in cells.columns]
    blank = pa.scalar(None, pa.string())
    filled = [pc.if_else(pc.equal(column, ""), blank, column) for column in stripped]
    return pa.table(filled, names=names), misfit, lines


def row_lines(path: Path, form: CsvFormat, rows: int) -> npt.NDArray[np.int64]:
    """The line that each row begins on, counted from 1: int64 [rows].

    A cell may hold line breaks. Only where the file has more lines than rows it is read once more, by
    Python's parser, which counts lines.
    """
    simple = np.arange(rows, dtype=np.int64) + form.header_line + 1
    if form.header_line + rows == _line_feeds(path):
        return simple
    with path.open(encoding=form.encoding, newline="") as file:
        found = np.fromiter(islice(_starts(file, form), rows), dtype=np.int64)
    return found if len(found) == rows else simple


def _line_feeds(path: Path) -> int:
    """The number of line feeds, and one more if the last line does not end in one."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def _starts(lines: Iterator[str], form: CsvFormat) -> Iterator[int]:
    reader = csv.reader(islice(lines, form.header_line, None), delimiter=form.delimiter)
    start = form.header_line + 1
    for _ in reader:
        yield start
        start = form.header_line + reader.line_num + 1
