"""How cells are read as times."""

import pandas as pd
import pytest

from terrycloth.experiments.datasets.cell_values import as_times


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2024-05-31", "2024-05-31T01:00:00+02:00"], ["2024-05-31 00:00", "2024-05-30 23:00"]),
        (["1717113600", "1717113600"], ["2024-05-31 00:00"] * 2),
        (["1717113600000"], ["2024-05-31 00:00"]),
        (["20240531"], ["2024-05-31 00:00"]),
        (["31/05/2024 14:30", "01/06/2024"], ["2024-05-31 14:30", "2024-06-01 00:00"]),
        (["5/31/2024 2:30 PM", "6/1/2024 12:05 am"], ["2024-05-31 14:30", "2024-06-01 00:05"]),
        (["01.06.2024", "soon"], ["2024-06-01 00:00", None]),
    ],
)
def test_times(cells, expected):
    times, note = as_times(pd.Series(cells, dtype=str))
    assert [None if pd.isna(time) else f"{time:%Y-%m-%d %H:%M}" for time in times] == expected
    assert note is None


def test_dates_that_do_not_say_where_the_day_stands_are_noted(tmp_path):
    times, note = as_times(pd.Series(["01/06/2024"]))
    assert f"{times[0]:%Y-%m-%d}" == "2024-06-01"
    assert "the day is taken first" in (note or "")
