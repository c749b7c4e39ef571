"""How times are read, with the smallest input for each format, and how unreadable times are reported."""

from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from terrycloth.experiments.datasets.csv_file import CsvFormat
from terrycloth.experiments.datasets.import_report import Problem, TimesRead
from terrycloth.experiments.datasets.tables import TableFile
from terrycloth.experiments.datasets.times import NUMBER_FORMATS, read_times
from terrycloth.models.errors import UserError

FILE = TableFile(Path("orders.csv"), ["Date"], CsvFormat(["Date"], ",", "utf-8", 1))


def read(
    cells: list[str | None], clock: list[str | None] | None = None
) -> tuple[list[str | None], TimesRead, list[Problem]]:
    """Return the cells of lines 2, 3 … as times, how they were read, and the problems with them."""
    rows = pd.RangeIndex(2, 2 + len(cells))
    column = pd.Series(cells, dtype="string", index=rows)
    second = None if clock is None else (pd.Series(clock, dtype="string", index=rows), "Time")
    times, read_as, problems = read_times(column, "Date", FILE, second)
    return [None if pd.isna(time) else f"{time:%Y-%m-%d %H:%M:%S}" for time in times], read_as, problems


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2024-05-31", "2024-05-31T01:00:00+02:00"], ["2024-05-31 00:00:00", "2024-05-30 23:00:00"]),
        (["2024-05-31 14:00:00 +0200"], ["2024-05-31 12:00:00"]),
        (["2019-10-01 00:00:00 UTC"], ["2019-10-01 00:00:00"]),
        (["1717113600", "1717113600.4"], ["2024-05-31 00:00:00"] * 2),
        (["1717113600000"], ["2024-05-31 00:00:00"]),
        (["1717113600000000"], ["2024-05-31 00:00:00"]),
        (["1717113600000000000"], ["2024-05-31 00:00:00"]),
        (["20240531"], ["2024-05-31 00:00:00"]),
        (["202405311408"], ["2024-05-31 14:08:00"]),
        (["20240531140809"], ["2024-05-31 14:08:09"]),
        (["45385.2", "45386"], ["2024-04-03 04:48:00", "2024-04-04 00:00:00"]),
        (["45387,5"], ["2024-04-05 12:00:00"]),
        (["31/05/2024 14:30", "01/06/2024"], ["2024-05-31 14:30:00", "2024-06-01 00:00:00"]),
        (["5/31/2024 2:30 PM", "6/1/2024 12:05 am"], ["2024-05-31 14:30:00", "2024-06-01 00:05:00"]),
        (["12/1/10 8:26", "12/13/10 9:00"], ["2010-12-01 08:26:00", "2010-12-13 09:00:00"]),
        (["31.05.2024 14:00", "1.6.24, 9:05 Uhr"], ["2024-05-31 14:00:00", "2024-06-01 09:05:00"]),
        (["14-JUL-08", "14-JUL-08 02.30.00.000000 PM"], ["2008-07-14 00:00:00", "2008-07-14 14:30:00"]),
        (["May 31, 2024 2:00 PM", "Friday, May 31, 2024"], ["2024-05-31 14:00:00", "2024-05-31 00:00:00"]),
        (["Fri, 31 May 2024 14:00:00 -0530"], ["2024-05-31 19:30:00"]),
        (["31. März 2024 14:00", "1er"], ["2024-03-31 14:00:00", None]),
        (["31 août 2024 14h30"], ["2024-08-31 14:30:00"]),
        (["01.06.2024", None, "N/A", "undefined"], ["2024-06-01 00:00:00", None, None, None]),
        (["31.12.69", "31.12.68"], ["1969-12-31 00:00:00", "2068-12-31 00:00:00"]),
    ],
)  # fmt: skip
def test_times_in_each_format(cells: list[str | None], expected: list[str | None]) -> None:
    assert read(cells)[0] == expected


@pytest.mark.parametrize(
    ("dates", "clock", "expected"),
    [
        (["2024-05-31"] * 2, ["1908", "5"], ["2024-05-31 19:08:00", "2024-05-31 00:05:00"]),
        (["31.05.2024"] * 2, ["19:08", "7:08:09 pm"], ["2024-05-31 19:08:00", "2024-05-31 19:08:09"]),
        (["2024-05-31"] * 2, ["190809", "10203"], ["2024-05-31 19:08:09", "2024-05-31 01:02:03"]),
        (["45443"] * 2, ["0.5", "0.25"], ["2024-05-31 12:00:00", "2024-05-31 06:00:00"]),
        (["2024-05-31"] * 2, ["1908", None], ["2024-05-31 19:08:00", "2024-05-31 00:00:00"]),
        (["2024-05-31"] * 2, ["1908", "1999"], ["2024-05-31 19:08:00", None]),
    ],
)
def test_the_time_of_day_may_be_in_a_separate_column(
    dates: list[str], clock: list[str | None], expected: list[str]
) -> None:
    times, read_as, _ = read(list(dates), clock)
    assert times == expected
    assert read_as.columns == ("Date", "Time")


def test_dates_with_a_time_of_day_need_no_other_column() -> None:
    times, read_as, problems = read(["2024-05-31 10:00"], ["1908"])
    assert (times, read_as.columns, problems) == (["2024-05-31 10:00:00"], ("Date",), [])


def test_an_unreadable_time_of_day_is_ignored_and_reported() -> None:
    times, read_as, (problem,) = read(["2024-05-31"], ["morning"])
    assert (times, read_as.columns) == (["2024-05-31 00:00:00"], ("Date",))
    assert problem.what == "the time of day in column 'Time' is not understood, and is not used"


def test_numbers_of_several_formats_are_refused_with_their_lines() -> None:
    message = (
        "^the times in column 'Date' of orders.csv mix seconds since 1970 \\(lines 2, 4\\) and milliseconds "
        "since 1970 \\(line 3\\): write all in one way$"
    )
    with pytest.raises(UserError, match=message):
        read(["1717113600", "1717113600000", "1717113601"])


@pytest.mark.parametrize(
    "cells",
    [["1908", "1909"], ["12", "13"], ["0", "-5"], ["99999999999999999999"], ["0001-01-01"], ["3024-05-31"]],
)
def test_numbers_outside_all_known_ranges_are_not_read_as_seconds(cells: list[str | None]) -> None:
    with pytest.raises(
        UserError, match=f"'Date' of orders.csv are not understood, such as '{cells[0]}' \\(line 2\\)"
    ):
        read(cells)


def test_the_ranges_of_number_formats_do_not_overlap() -> None:
    ranges = sorted((each.low, each.high) for each in NUMBER_FORMATS)
    assert all(high <= low for (_, high), (low, _) in pairwise(ranges))


def test_three_unreadable_cells_are_shown_with_their_lines() -> None:
    """A cell without a digit, or with an address, may hold a person's data and is not shown."""
    times, _, (problem,) = read(["2024-05-31", "Q2 2024", "secret", "s3cret@x.org", "Q2 2024", "Q3 2024"])
    assert times == ["2024-05-31 00:00:00", None, None, None, None, None]
    assert problem.sentence() == (
        "times in column 'Date' that are not understood, such as 'Q2 2024' (line 3), a word (line 4), "
        "a word (line 5): lines 3, 4, 5, …"
    )
    assert problem.rows == 5


def test_times_in_the_future_are_reported() -> None:
    """This reveals a file of yy-mm-dd, which looks like dd-mm-yy."""
    _, _, problems = read(["2024-05-31", "2098-05-31"])
    assert [problem.sentence() for problem in problems] == [
        "times in column 'Date' that lie in the future: line 3"
    ]


def test_one_line_reports_the_format_and_the_span() -> None:
    assert read(["45385.2", "45386"])[1].sentence() == (
        "times: Date read as days since 1900 (Excel), from 2024-04-03 04:48 to 2024-04-04 00:00"
    )
    assert read(["2024-05-31", "2024-05-30", "14-JUL-08"])[1].sentence() == (
        "times: Date read as ISO 8601 (2024-05-31 14:00) (2 cells), dates with the month's name (31 May "
        "2024) (1 cells), from 2008-07-14 00:00 to 2024-05-31 00:00"
    )


@pytest.mark.parametrize(
    ("cell", "expected", "guessed"),
    [
        ("01/06/2024", "2024-06-01 00:00:00", "the day is taken first"),
        ("01/06/2024 2:00 PM", "2024-01-06 14:00:00", "the month is taken first"),  # the American order
        ("01.06.2024", "2024-06-01 00:00:00", None),
    ],
)
def test_a_guess_at_the_order_of_day_and_month_is_reported(
    cell: str, expected: str, guessed: str | None
) -> None:
    times, _, problems = read([cell])
    assert times == [expected]
    assert [guessed in problem.what for problem in problems if guessed] == [True] * (guessed is not None)
    assert len(problems) == (guessed is not None)
