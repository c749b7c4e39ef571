"""Tables on disk: detect a file's format, read its header, and read only the columns that are requested.

CSV, Parquet and Excel are recognised by their content. Excel files can only be read whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from terrycloth.experiments.datasets.csv_file import CsvFormat, csv_format, read_csv
from terrycloth.models.errors import UserError

EXAMPLE_ROWS = 3
PARQUET_MAGIC, EXCEL_MAGIC = b"PAR1", b"PK\x03\x04"
MISFIT = "another number of cells than the header"
EXACT = 2**53  # floating-point numbers hold every whole number up to this one, and not every one above


@dataclass(frozen=True)
class TableFile:
    """A table on disk of which only the header has been read.

    csv: how it is read if it is text, else None. sheet: the cells if it is Excel, which is only read whole.
    """

    path: Path
    columns: list[str]
    csv: CsvFormat | None = None
    sheet: pd.DataFrame | None = field(default=None, repr=False, compare=False)

    @property
    def listed(self) -> str:
        """The list of its columns, for an error message."""
        return "it has " + ", ".join(column for column in self.columns if column)

    @property
    def decimal_comma(self) -> bool:
        """Whether 1,5 is a number where nothing else shows it: if semicolons separate the cells."""
        return self.csv is not None and self.csv.delimiter == ";"

    def place(self, rows: pd.Index) -> str:
        """The place of these rows: "lines 3, 13, 14, …" of a CSV file (its header is line 1), or "row 2"."""
        rows = rows.unique()
        word = ("row" if self.csv is None else "line") + ("s" if len(rows) > 1 else "")
        shown = ", ".join(str(row) for row in rows[:EXAMPLE_ROWS])
        return f"{word} {shown}{', …' if len(rows) > EXAMPLE_ROWS else ''}"


def open_table(path: Path) -> TableFile:
    """Detect a file's format and read its header. Raises UserError if it is no such table."""
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
    if start == EXCEL_MAGIC:
        return _open_excel(path)
    form = csv_format(path)
    return TableFile(path, form.columns, form)


def _open_parquet(path: Path) -> TableFile:
    try:
        metadata = parquet.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is a damaged Parquet file: export it again") from error
    if metadata.num_rows == 0:
        raise UserError(f"{path} holds column names but no rows: export it again")
    return TableFile(path, list(metadata.schema.to_arrow_schema().names))


def _open_excel(path: Path) -> TableFile:
    """The sheets with the first one's header, one after the other: a large export has several."""
    first, *others = [sheet for sheet in read_sheets(path) if len(sheet)] or [pd.DataFrame()]
    same = [sheet for sheet in others if list(sheet.columns) == list(first.columns)]
    if first.empty:
        raise UserError(f"{path} holds no rows below a line of column names: export it again")
    whole = first
    if same:
        whole = pd.concat([first, *same], ignore_index=True)
        whole.index += first.index[0]  # rows are counted over all sheets
    return TableFile(path, [" ".join(str(column).split()) for column in first.columns], sheet=whole)


def read_sheets(path: Path) -> list[pd.DataFrame]:
    """Read every sheet of an Excel file, in order; the first row that is not blank holds the column names.

    The index is the row's number in the sheet. Raises UserError if the file cannot be read or openpyxl is not
    installed.
    """
    try:
        sheets = pd.read_excel(
            path, sheet_name=None, header=None, dtype=object, keep_default_na=False, na_values=[""],
            engine="openpyxl",
        )  # fmt: skip
    except ImportError:
        raise UserError(f'{path} is an Excel file: pip install "terrycloth[excel]" to read it') from None
    except Exception:  # openpyxl raises many kinds of errors
        raise UserError(f"{path} is not an Excel file, or is damaged: download it again") from None
    return [_below_header(sheet) for sheet in sheets.values()]


def _below_header(sheet: pd.DataFrame) -> pd.DataFrame:
    filled = np.flatnonzero(sheet.notna().any(axis=1))
    if not len(filled):
        return pd.DataFrame()
    header = sheet.iloc[filled[0]]
    below = sheet.iloc[filled[0] + 1 :].set_axis(header.fillna("").astype(str).tolist(), axis=1)
    return below.set_index(below.index + 1)


def read_columns(table: TableFile, positions: Sequence[int]) -> tuple[pd.DataFrame, pd.Series]:
    """Read the columns at these positions and no others.

    Returns the cells, with columns numbered from 0 in the requested order, and a mask of misfits: rows with
    more or fewer cells than the header. A misfit's cells may be in the wrong columns and are left missing.
    The index of both is the line of a CSV file that the row begins on, or the row's number. CSV cells are
    stripped strings, and missing if blank. Others keep their type; whole numbers never pass through a
    floating-point number. Raises UserError if the file is damaged.
    """
    if table.sheet is not None:
        frame = table.sheet.iloc[:, list(positions)].set_axis(range(len(positions)), axis=1).apply(one_type)
        return frame, pd.Series(False, index=frame.index)
    try:
        if table.csv is None:
            names = [table.columns[position] for position in positions]
            cells = parquet.read_table(table.path, columns=names).select(names)
            cells = pa.table([_plain(column) for column in cells.columns], names=names)
            misfit, lines = np.zeros(len(cells), dtype=np.bool_), np.arange(1, len(cells) + 1)
        else:
            cells, misfit, lines = read_csv(table.path, table.csv, list(positions))
    except (pa.ArrowException, OSError):
        # The parser's own message may quote the file, so it is not passed on.
        raise UserError(f"{table.path} cannot be read as a table: it is damaged, export it again") from None
    frame = cells.to_pandas(ignore_metadata=True, types_mapper=WHOLE_NUMBERS.get)
    frame.columns = pd.RangeIndex(len(positions))
    index = pd.Index(lines)
    frame.index = index[~misfit]
    return (frame.reindex(index) if misfit.any() else frame), pd.Series(misfit, index=index)


# pandas would turn whole numbers beside a missing one into floating-point numbers, which merges long ids.
WHOLE_NUMBERS: dict[pa.DataType, Any] = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.int64()), pd.Int64Dtype()),
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), pd.UInt64Dtype()),
    pa.string(): pd.StringDtype(),
}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type that pandas has: text, whole numbers, floating-point numbers, or times."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_decimal(kind):  # a database's whole numbers
        return column.cast(pa.string() if kind.scale == 0 else pa.float64())
    if pa.types.is_time(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("s"))
    return pc.cast(column, pa.float64()) if pa.types.is_float16(kind) else column


def one_type(cells: pd.Series) -> pd.Series:
    """Give a column of Excel's cells one type: times, whole numbers, floating-point numbers, or text.

    Excel keeps 15 digits of a number, so longer ones stay floating-point: `as_ids` refuses those.
    """
    known = cells.dropna()
    kinds = set(known.map(type))
    if kinds and kinds <= {datetime, pd.Timestamp}:
        return pd.to_datetime(cells, errors="coerce")
    if kinds and kinds <= {int, float}:
        exact = kinds == {int} and known.abs().max() < EXACT
        return cells.astype("Int64") if exact else cells.astype("float64")
    return cells.map(_written, na_action="ignore").astype("string")


def _written(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
