"""Convert a column's cells to text, numbers or times, and shopper ids to keyed hashes."""

import hashlib
import secrets

import numpy as np
import numpy.typing as npt
import pandas as pd

DAY_AND_MONTH = (
    r"^(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})[./-](?P<year>\d{4})"
    r"(?:[ T,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second_hand>\d{2}))?(?:\.\d+)?"
    r"\s*(?P<half>[AaPp][Mm])?)?$"
)


def as_text(column: pd.Series) -> pd.Series:
    """Stripped strings; blank cells are missing. Whole numbers lose the ".0" that missing cells gave them."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.mask(text == "")


def as_numbers(column: pd.Series, decimal_comma: bool = False) -> pd.Series:
    """Convert to float64; a cell that is not a number becomes NaN. decimal_comma: read 1,5 as 1.5."""
    if decimal_comma and not pd.api.types.is_numeric_dtype(column):
        column = column.str.replace(",", ".", regex=False)
    return pd.to_numeric(column, errors="coerce").astype("float64")


def pseudonyms(shoppers: pd.Series) -> pd.Series:
    """Replace ids by hashes under a key that is drawn here and never kept; missing ids stay missing.

    Without the key nobody, including this program, can hash a guessed customer number to find its shopper.
    The categories are in the order of the ids as text. `numbered` numbers the shoppers in that order, which
    does not depend on the order of the rows.
    """
    key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
    codes, distinct = pd.factorize(as_text(shoppers), sort=True)
    hashes = [
        hashlib.blake2b(str(shopper).encode(), key=key, digest_size=16).hexdigest() for shopper in distinct
    ]
    return pd.Series(
        pd.Categorical.from_codes(codes, categories=pd.Index(hashes, dtype=str)), index=shoppers.index
    )


def numbered(shoppers: pd.Series) -> tuple[npt.NDArray[np.int64], int]:
    """Turn pseudonyms, none missing, into numbers from 0 in the order of the ids; also count the shoppers."""
    present, numbers = np.unique(shoppers.cat.codes.to_numpy(), return_inverse=True)
    return numbers.astype(np.int64), len(present)


def as_times(column: pd.Series) -> tuple[pd.Series, str | None]:
    """Parse times as datetime64 in UTC, NaT if unreadable; also return a note if the format is a guess.

    The formats are ISO 8601; seconds, milli-, micro- or nanoseconds since 1970; 20240531; and
    31/05/2024 14:00 with slashes, dots or dashes. In the last one, day or month comes first, whichever reads
    more of the rows. A time without a zone is in UTC.
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
    remaining, note = _times_from_day_and_month(text[unread])
    return times.fillna(remaining), note


def _times_from_numbers(numbers: pd.Series) -> pd.Series:
    size = numbers.abs().median()
    if 19_000_101 <= size <= 21_001_231:
        dates = numbers.astype("Int64") if (numbers.dropna() % 1 == 0).all() else numbers
        return pd.to_datetime(dates.astype("string"), format="%Y%m%d", errors="coerce", utc=True)
    units_per_second = 10.0 ** (3 * sum(size >= bound for bound in (1e11, 1e14, 1e17)))
    seconds = numbers / units_per_second
    return pd.to_datetime(seconds.where(seconds.abs() < 7e9).round(), unit="s", errors="coerce", utc=True)


def _times_from_day_and_month(text: pd.Series) -> tuple[pd.Series, str | None]:
    parts = text.str.extract(DAY_AND_MONTH)
    numbers = parts.drop(columns=["mark", "half"]).apply(pd.to_numeric, errors="coerce").astype("float64")
    first_is_day = int((numbers["first"] > 12).sum())  # these rows cannot have the month first
    second_is_day = int((numbers["second"] > 12).sum())
    day_first = first_is_day >= second_is_day
    note = None
    if first_is_day == second_is_day and (parts["mark"] != ".").any() and numbers["first"].notna().any():
        note = (
            "the dates do not show whether the day or the month comes first: the day is taken first "
            "(write 2024-05-31 to avoid the guess)"
        )
    am_or_pm = parts["half"].str.lower()
    hour = numbers["hour"].fillna(0)
    hour = hour.where(am_or_pm.isna(), hour % 12 + 12 * (am_or_pm == "pm").fillna(False).astype("float64"))
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
