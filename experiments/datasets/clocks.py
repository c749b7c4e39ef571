"""Times of day in a column of their own: 19:08, 7:08 PM, 1908, 190833, or a fraction of a day as in Excel."""

import pandas as pd

CLOCK = (
    r"^(?P<hour>\d{1,2})[:.h](?P<minute>\d{2})(?:[:.](?P<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?P<half>[AaPp][Mm])?(?:\s*Uhr)?$"
)


def as_clocks(text: pd.Series) -> pd.Series:
    """Read cells as the time since midnight (timedelta64), NaT if missing or not a time of day.

    Numbers are read in one way for the whole column: fractions of a day if none is above 1, hours and minutes
    (1908) if none has more than four digits, else hours, minutes and seconds (190833).
    """
    number = text.where(text.str.fullmatch(r"\d+(?:[.,]\d+)?").fillna(False))
    value = pd.to_numeric(number.str.replace(",", ".", regex=False)).astype("float64")
    largest = value.max()
    if largest < 1:
        return pd.to_timedelta((value * 86_400).round(), unit="s")
    value = value.where(value % 1 == 0) * (1 if largest > 2400 else 100)  # 19.08 is read as 19:08, below
    hour, minute, second = value // 10_000, value // 100 % 100, value % 100
    seconds = (hour * 3600 + minute * 60 + second).where((hour < 24) & (minute < 60) & (second < 60))
    parts = text.str.extract(CLOCK)
    half = parts["half"].str.lower()
    hour, minute, second = (
        pd.to_numeric(parts[name]).astype("float64") for name in ("hour", "minute", "second")
    )
    hour = hour.where(half.isna(), hour % 12 + 12 * (half == "pm").fillna(False).astype("float64"))
    written = (hour * 3600 + minute * 60 + second.fillna(0)).where((hour < 24) & (minute < 60))
    return pd.to_timedelta(written.fillna(seconds), unit="s")
