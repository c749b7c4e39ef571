"""Ids are the exact text of the file in every format, and missing values are missing."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from terrycloth.experiments.datasets.cell_values import as_ids, as_text, as_values
from terrycloth.experiments.datasets.tables import open_table, read_columns
from terrycloth.models.errors import UserError

# As floating-point numbers these are equal.
LONG = [4873214862074861312, 4873214862074861313, 4873214862074861314, None]


def ids_of(path: Path) -> list[str | None]:
    table = open_table(path)
    ids = as_ids(read_columns(table, [0])[0][0], "id", table)
    return [None if pd.isna(value) else str(value) for value in ids]


def parquet_file(folder: Path, cells: list[Any], kind: pa.DataType) -> Path:
    parquet.write_table(pa.table({"id": pa.array(cells, kind)}), folder / "orders.parquet")
    return folder / "orders.parquet"


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (LONG, pa.int64(), [*map(str, LONG[:3]), None]),
        ([2**64 - 1, None], pa.uint64(), [str(2**64 - 1), None]),
        (
            [Decimal(number) if number else None for number in LONG],
            pa.decimal128(38, 0),
            [*map(str, LONG[:3]), None],
        ),
        ([Decimal("7.00"), None], pa.decimal128(10, 2), ["7", None]),
        ([7.0, None, 8.0], pa.float64(), ["7", None, "8"]),
        ([2.0**53 - 1, None], pa.float64(), ["9007199254740991", None]),
        (["007", "None", "NA", " x "], pa.string(), ["007", None, None, "x"]),
        (["a", "b", "a"], pa.dictionary(pa.int32(), pa.string()), ["a", "b", "a"]),
    ],
)
def test_ids_of_parquet_never_pass_through_a_float(
    tmp_path: Path, cells: list[Any], kind: pa.DataType, expected: list[str | None]
) -> None:
    assert ids_of(parquet_file(tmp_path, cells, kind)) == expected


def test_csv_and_parquet_agree_on_long_ids(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,x\n" + "".join(f"{'' if n is None else n},y\n" for n in LONG))
    assert ids_of(tmp_path / "orders.csv") == ids_of(parquet_file(tmp_path, LONG, pa.int64()))


@pytest.mark.parametrize("cell", [2.0**53, 1e300])
def test_floating_point_ids_too_large_to_be_exact_are_refused(tmp_path: Path, cell: float) -> None:
    with pytest.raises(
        UserError, match=r"column 'id' of .* as floating-point numbers.*above 2\^53 apart \(row 2\)"
    ):
        ids_of(parquet_file(tmp_path, [7.0, cell], pa.float64()))


@pytest.mark.parametrize("cell", ["4.00638E+12", "4,00638e12", "1E+15"])
def test_ids_that_excel_shortened_are_refused(tmp_path: Path, cell: str) -> None:
    (tmp_path / "orders.csv").write_text(f"id;x\n7;y\n{cell};y\n")
    with pytest.raises(
        UserError, match=r"Excel has shortened, as in 4\.00638E\+12 \(line 3\): export it again"
    ):
        ids_of(tmp_path / "orders.csv")


def test_ids_of_excel_files(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"id": pd.Series([17850, "85123A", None, 7.0, "0012"], dtype=object), "x": 1})
    frame.to_excel(tmp_path / "orders.xlsx", index=False)
    assert ids_of(tmp_path / "orders.xlsx") == ["17850", "85123A", None, "7", "0012"]
    pd.DataFrame({"id": [2**60, 1]}).to_excel(tmp_path / "orders.xlsx", index=False)
    with pytest.raises(UserError, match=r"as floating-point numbers.*\(row 2\)"):
        ids_of(tmp_path / "orders.xlsx")


def test_whole_numbers_written_with_a_decimal_zero_lose_it_if_all_have_it(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,x\n17850.0,y\n,y\n7.0,y\n")
    assert ids_of(tmp_path / "orders.csv") == ["17850", None, "7"]
    (tmp_path / "orders.csv").write_text("id,x\n17850.0,y\n7.5,y\n")
    assert ids_of(tmp_path / "orders.csv") == ["17850.0", "7.5"]


@pytest.mark.parametrize(
    "cell", ["None", "none", "NULL", "undefined", "NaN", "\\N", "N/A", "#N/A", "NA", "", " "]
)
def test_placeholders_that_programs_write_for_no_value_are_missing(cell: str) -> None:
    assert as_values(pd.Series([cell, "x"])).tolist() == [pd.NA, "x"]


def test_a_title_may_be_the_word_none() -> None:
    assert as_text(pd.Series(["None", "NA", " "])).tolist() == ["None", "NA", pd.NA]
    assert as_values(pd.Series(["na", "nothing"])).tolist() == ["na", "nothing"]
