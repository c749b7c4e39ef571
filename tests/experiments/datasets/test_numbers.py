"""The decimal mark of numbers is decided once for a file, by the cells that show it."""

import numpy as np
import pandas as pd
import pytest

from terrycloth.experiments.datasets.numbers import as_numbers, marks_of


def read(cells: list[str], otherwise_comma: bool = False) -> list[float | None]:
    column = pd.Series(cells, dtype="string")
    numbers = as_numbers(column, marks_of([column], otherwise_comma))
    return [None if np.isnan(number) else float(number) for number in numbers]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2.55"], [2.55]),
        (["2,55"], [2.55]),
        (["1.200", "1.200,50"], [1200.0, 1200.5]),
        (["1,200", "1,200.50"], [1200.0, 1200.5]),
        (["1.200", "1.200.300"], [1200.0, 1_200_300.0]),
        (["1.200", "2.5"], [1.2, 2.5]),
        (["1.200"], [1.2]),
        (["0,125", "1.200"], [0.125, 1200.0]),
        (["1 200,50", "1\u00a0200", "1\u202f200,5"], [1200.5, 1200.0, 1200.5]),
        (["1'200.50"], [1200.5]),
        (["$1,200", "3.50", "€ 4", "5 EUR", "-6"], [1200.0, 3.5, 4.0, 5.0, -6.0]),
        (["1e39", "2E3", ".5"], [1e39, 2000.0, 0.5]),
        (["12", "-", "on request", "1.2.3", "12,34.5"], [12.0, None, None, None, None]),
        (["12", "N/A", "None"], [12.0, None, None]),
    ],
)
def test_numbers_are_read_with_the_mark_that_cells_show(
    cells: list[str], expected: list[float | None]
) -> None:
    assert read(cells) == expected


def test_without_evidence_semicolons_between_cells_mean_a_decimal_comma() -> None:
    assert read(["1.200"], otherwise_comma=True) == [1200.0]
    assert read(["1,200"], otherwise_comma=True) == [1.2]
    assert read(["2.5"], otherwise_comma=True) == [2.5]  # this cell shows the decimal mark


def test_all_columns_of_a_file_use_one_decimal_mark() -> None:
    shown, silent = pd.Series(["1.200,50", "3"]), pd.Series(["1.200", "4"])
    marks = marks_of([silent, shown])
    assert as_numbers(silent, marks).tolist() == [1200.0, 4.0]
    assert marks.sentence() == "numbers: with a decimal comma, as in 2,55 (shown by 1 cells)"


def test_a_guessed_decimal_mark_is_reported_if_it_matters() -> None:
    assert marks_of([pd.Series(["1.200", "4"])]).sentence() == (
        "numbers: no cell shows how decimals are written; taken to be as in 2.55 (it concerns 1 cells)"
    )
    assert marks_of([pd.Series(["12", "4"])], otherwise_comma=True).sentence() == ""


def test_columns_of_words_are_no_evidence() -> None:
    assert marks_of([pd.Series(["blue", "red", "2,55"])]).decimal == "point"


def test_a_cell_with_the_other_mark_is_no_number_and_is_counted() -> None:
    column = pd.Series(["2.55", "3.10", "2,55"])
    marks = marks_of([column])
    assert as_numbers(column, marks).isna().tolist() == [False, False, True]
    assert marks.sentence().endswith("(shown by 2 cells, 1 cells are written otherwise)")
