"""Text tables as programs write them: byte order marks, delimiters, encodings, and line breaks in cells."""

from pathlib import Path

import pandas as pd
import pytest

from terrycloth.experiments.datasets.csv_file import csv_format, find_encoding
from terrycloth.experiments.datasets.tables import open_table, read_columns


def rows_of(folder: Path, content: str | bytes) -> tuple[list[str], dict[int, list[str | None]]]:
    """Return the header, and the cells of each row by the line on which it begins."""
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table = open_table(path)
    cells, misfit = read_columns(table, range(len(table.columns)))
    rows = {
        int(line): [None if pd.isna(cell) else cell for cell in row]
        for line, row in zip(cells.index, cells.to_numpy(), strict=True)
    }
    return table.columns, {line: ["misfit"] if misfit[line] else row for line, row in rows.items()}


AB = {2: ["1", "2"]}


@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        ("a,b\n1,2\n", ["a", "b"], AB),
        ('\ufeff"a","b"\n1,2\n', ["a", "b"], AB),
        ("a;b\n1;2\n", ["a", "b"], AB),
        ("a\tb\n1\t2\n", ["a", "b"], AB),
        ("a|b\n1|2\n", ["a", "b"], AB),
        ("a,b\r\n1,2\r\n", ["a", "b"], AB),
        ("a,b\n1,2", ["a", "b"], AB),
        ("sep=;\na;b\n1;2\n", ["a", "b"], {3: ["1", "2"]}),
        ('\ufeff"sep=,"\na,b\n1,2\n', ["a", "b"], {3: ["1", "2"]}),
        ('"a\nof\nit",b\n1,2\n', ["a of it", "b"], {4: ["1", "2"]}),
        ("a,b\n1,2\n".encode("utf-16"), ["a", "b"], AB),
        ("Artikel, Nr;Preis, alt\n1;2,5\n3;4,5\n", ["Artikel, Nr", "Preis, alt"],
         {2: ["1", "2,5"], 3: ["3", "4,5"]}),
        ("A report\nMay\n\na,b,c\n1,2,3\n4,5,6\n", ["a", "b", "c"], {5: ["1", "2", "3"], 6: ["4", "5", "6"]}),
    ],
)  # fmt: skip
def test_tables_are_read_by_line(
    tmp_path: Path, content: str | bytes, columns: list[str], rows: dict[int, list[str]]
) -> None:
    assert rows_of(tmp_path, content) == (columns, rows)


def test_a_row_has_the_number_of_the_line_on_which_it_begins(tmp_path: Path) -> None:
    content = 'a,b\n1,"x\ny"\n2,"5"" wide\n\nand more"\n\n3,z,4\n6,5" wide\n7,w\n'
    assert rows_of(tmp_path, content)[1] == {
        2: ["1", "x\ny"],
        4: ["2", '5" wide\n\nand more'],
        7: [None, None] if rows_of(tmp_path, content)[1][7] != ["misfit"] else ["misfit"],
        8: ["misfit"],
        9: ["6", '5" wide'],
        10: ["7", "w"],
    }


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Ręcznik kąpielowy żółty, duży; łazienka", "cp1250"),
        ("Ručník žlutý, přikrývka, košile", "cp1250"),
        ("Törölköző, fürdőlepedő, kék és hosszú", "cp1250"),
        ("Frottiertücher für 5 €, groß und weiß", "cp1252"),
        ("Serviette éponge à la crème brûlée, gant de toilette brodé", "cp1252"),
        ("Toalla de baño para niños pequeños, algodón español", "cp1252"),
        ("Żółty ręcznik", "utf-8"),
    ],
)
def test_encodings_are_recognised_by_language(tmp_path: Path, text: str, encoding: str) -> None:
    """The text is read correctly, whichever of two encodings that give the same text is found."""
    path = tmp_path / "table.csv"
    path.write_bytes(f"sku,title\nA,{text}\n".encode(encoding))
    assert text in path.read_text(encoding=find_encoding(path))


def test_a_very_long_cell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1," + "x" * 200_000 + "\n")
    assert csv_format(path).columns == ["a", "b"]


def test_excel_sheets_with_the_same_header_are_read_as_one_table(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    first = pd.DataFrame({"a": [1, 2], "when": pd.to_datetime(["2024-05-31", "2024-06-01"])})
    with pd.ExcelWriter(tmp_path / "book.xlsx") as book:
        first.to_excel(book, sheet_name="2023", index=False)
        first.to_excel(book, sheet_name="2024", index=False)
        pd.DataFrame({"notes": ["x"]}).to_excel(book, sheet_name="notes", index=False)
    table = open_table(tmp_path / "book.xlsx")
    cells, misfit = read_columns(table, [0, 1])
    assert table.columns == ["a", "when"]
    assert cells[0].tolist() == [1, 2, 1, 2]
    assert cells[1].dt.day.tolist() == [31, 1, 31, 1]
    assert not misfit.any()
