"""Times as files hold them: a table of formats, which says how each is recognised and read.

Every cell is read by the first format that recognises it. Numbers are recognised by their range: seconds
since 1970 lie in another one than milliseconds or the days of Excel, from 1990 to 2100. A column that mixes
such ranges is refused, because one of them is then a mistake. A time without a zone is in UTC.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_values
from terrycloth.experiments.datasets.clocks import as_clocks
from terrycloth.experiments.datasets.import_report import Problem, TimesRead
from terrycloth.experiments.datasets.tables import EXAMPLE_ROWS, TableFile
from terrycloth.models.errors import UserError

DATE_GUESSED = (
    "the dates do not show whether the day or the month comes first: the {} is taken first "
    "(write 2024-05-31 to avoid the guess)"
)
LONGEST_SHOWN = 40  # characters of a cell in a message

# --- Numbers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumberFormat:
    """Times as numbers.

    low, high: the range that recognises them. read: the numbers and their text → datetime64 in UTC.
    """

    name: str
    low: float
    high: float
    read: Callable[[pd.Series, pd.Series], pd.Series]


def since_1970(per_second: int) -> Callable[[pd.Series, pd.Series], pd.Series]:
    """Read a number of units since 1970, of which a second has so many; rounded to whole seconds."""
    return lambda numbers, _: pd.to_datetime((numbers / per_second).round(), unit="s", utc=True)


def digits(form: str) -> Callable[[pd.Series, pd.Series], pd.Series]:
    """Read the digits of a date, as in 20240531."""
    return lambda _, text: pd.to_datetime(text, format=form, errors="coerce", utc=True)


def excel_days(numbers: pd.Series, _: pd.Series) -> pd.Series:
    """Read days since 30 December 1899, as Excel counts them, with their fractions, to the second."""
    return pd.to_datetime(((numbers - 25569) * 86_400).round(), unit="s", utc=True)


FIRST, LAST = 631_152_000, 4_102_444_800  # 1990 and 2100 in seconds since 1970
NUMBER_FORMATS = (
    NumberFormat("days since 1900 (Excel)", 32_874, 73_051, excel_days),
    NumberFormat("dates (20240531)", 19_000_101, 21_001_232, digits("%Y%m%d")),
    NumberFormat("dates with a clock (202405311400)", 190001010000, 210012312360, digits("%Y%m%d%H%M")),
    NumberFormat(
        "dates with a clock (20240531140000)", 19000101000000, 21001231235960, digits("%Y%m%d%H%M%S")
    ),
    NumberFormat("seconds since 1970", FIRST, LAST, since_1970(1)),
    NumberFormat("milliseconds since 1970", FIRST * 1e3, LAST * 1e3, since_1970(10**3)),
    NumberFormat("microseconds since 1970", FIRST * 1e6, LAST * 1e6, since_1970(10**6)),
    NumberFormat("nanoseconds since 1970", FIRST * 1e9, LAST * 1e9, since_1970(10**9)),
)
NUMBER = r"[+-]?\d+(?:[.,]\d+)?"
FIRST_YEAR, LAST_YEAR = 1900, 2200  # a time outside these is a mistake

# --- Text -------------------------------------------------------------------------------------------------

MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar jänner janvier janv", "feb february februar février fevrier fév févr fevr",
            "mar march märz maerz mär mrz mars", "apr april avril avr", "may mai", "jun june juni juin",
            "jul july juli juillet juil", "aug august août aout", "sep sept september septembre",
            "oct october okt oktober octobre", "nov november novembre", "dec december dez dezember décembre "
            "decembre déc",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
YEAR = r"(?P<year>\d{4}|\d{2})"
CLOCK = (
    r"(?:(?:,?\s+(?:at\s+|um\s+|à\s+)?|T|,)(?P<hour>\d{1,2})[:.h](?P<minute>\d{2})"
    r"(?:[:.](?P<second>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[AaPp]\.?[Mm]\.?)?(?:\s*Uhr)?)?"
    r"(?:\s*(?:UTC|GMT|Z))?(?:\s*(?P<zone>[+-]\d{2}:?\d{2}))?"
)
WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,?\s+)?"
MONTH_NAME = r"(?P<month>[^\W\d_]{3,9})\.?"


@dataclass(frozen=True)
class TextFormat:
    """Times as text. pattern: a regular expression with the groups day, month, year … of the whole cell.

    The groups first and next are the day and the month in an order that the whole column decides.
    """

    name: str
    pattern: str


TEXT_FORMATS = (
    TextFormat(
        "dates with the {} first",
        rf"(?P<first>\d{{1,2}})(?P<mark>[./-])(?P<next>\d{{1,2}})(?P=mark){YEAR}{CLOCK}",
    ),
    TextFormat(
        "dates with the month's name (31 May 2024)",
        rf"{WEEKDAY}(?P<day>\d{{1,2}})\.?[\s-]{MONTH_NAME}[\s-]{YEAR}{CLOCK}",
    ),
    TextFormat(
        "dates with the month's name (May 31, 2024)",
        rf"{WEEKDAY}{MONTH_NAME}\s(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s{YEAR}{CLOCK}",
    ),
)
ISO = "ISO 8601 (2024-05-31 14:00)"

# --- Columns ----------------------------------------------------------------------------------------------


def read_times(
    cells: pd.Series, header: str, table: TableFile, clock: tuple[pd.Series, str] | None = None
) -> tuple[pd.Series, TimesRead, list[Problem]]:
    """Read a column as datetime64 in UTC, NaT if a cell is missing or not understood.

    clock: the cells and the header of a column that holds the time of day, if the dates have none. Returns
    the times, how they were read, and what is wrong with them. Raises UserError, with three cells, if no cell
    is understood, and with the lines if numbers of different ranges are mixed.
    """
    headers: tuple[str, ...] = (header,)
    problems: list[Problem] = []
    if pd.api.types.is_datetime64_any_dtype(cells):
        times, formats = pd.to_datetime(cells, utc=True), {"the file's own times": int(cells.notna().sum())}
    else:
        times, formats, problems = _times_of_text(as_values(cells), header, table)
    if clock is not None and (times.dropna() == times.dropna().dt.normalize()).all():
        times, problem = _with_clock(times, *clock, table)
        problems += [problem] if problem else []
        headers = (header, clock[1]) if problem is None or problem.rows else headers
    known = times.dropna()
    future = known[known > pd.Timestamp.now("UTC") + pd.Timedelta(days=1)]
    if len(future):
        what = f"times in column {header!r} that lie in the future"
        problems.append(Problem(what, len(future), table.place(future.index)))
    if known.empty:
        return times, TimesRead(headers, formats, "–", "–"), problems
    first, last = (f"{instant:%Y-%m-%d %H:%M}" for instant in (known.min(), known.max()))
    return times, TimesRead(headers, formats, first, last), problems


def _times_of_text(
    text: pd.Series, header: str, table: TableFile
) -> tuple[pd.Series, dict[str, int], list[Problem]]:
    codes, distinct = pd.factorize(text)
    of_distinct, used, guess = _times_of_distinct(pd.Series(distinct).astype("string"))
    instants = np.append(of_distinct.dt.tz_localize(None).to_numpy("datetime64[s]"), np.datetime64("NaT"))
    read = pd.Series(instants[codes], index=text.index).dt.tz_localize("UTC")
    cells = np.bincount(codes[codes >= 0], minlength=len(used))
    counts = {str(name): int(cells[used == name].sum()) for name in dict.fromkeys(used) if name}
    _refuse_mixed_numbers(np.append(used, "")[codes], counts, header, text.index, table)
    unread = read.isna() & text.notna()
    problems = [Problem(guess)] if guess else []
    if unread.any():
        shown = _three_cells(text[unread], table)
        if not read.notna().any():
            raise UserError(
                f"the times in column {header!r} of {table.path} are not understood, such as {shown}: "
                "write them as 2024-05-31 14:00"
            )
        place = table.place(text.index[unread])
        what = f"times in column {header!r} that are not understood, such as {shown}"
        problems.append(Problem(what, int(unread.sum()), place))
    return read, dict(sorted(counts.items(), key=lambda item: -item[1])), problems


def _times_of_distinct(text: pd.Series) -> tuple[pd.Series, npt.NDArray[np.object_], str | None]:
    """Read each different cell: its time, its format's name ("" if none), and a guess if there is one."""
    used = np.full(len(text), "", dtype=object)
    times = pd.Series(pd.NaT, index=text.index, dtype="datetime64[s, UTC]")

    def keep(found: pd.Series, name: str) -> None:
        read = found[found.dt.year.between(FIRST_YEAR, LAST_YEAR)]
        used[read.index] = name
        times[read.index] = read.dt.as_unit("s")

    is_number = text.str.fullmatch(NUMBER)
    written = text[is_number]
    numbers = pd.to_numeric(written.str.replace(",", ".", regex=False)).astype("float64")
    for number_format in NUMBER_FORMATS:
        recognised = (numbers >= number_format.low) & (numbers < number_format.high)
        if recognised.any():
            keep(number_format.read(numbers[recognised], written[recognised]), number_format.name)
    rest = text[~is_number]
    if len(rest):
        plain = rest.str.replace(r"\s*(?:UTC|GMT)$", "", regex=True)
        keep(pd.to_datetime(plain, format="ISO8601", errors="coerce", utc=True), ISO)
    guess = None
    for text_format in TEXT_FORMATS:
        rest = text[~is_number & (used == "")]
        if len(rest):
            found, first, guessed = _from_parts(rest.str.extract(f"^{text_format.pattern}$"))
            guess = guess or guessed
            keep(found, text_format.name.format(first))
    return times, used, guess


def _from_parts(parts: pd.DataFrame) -> tuple[pd.Series, str, str | None]:
    """Build times from the groups of a format's pattern.

    Also returns which of the day and the month comes first, and a sentence if that is a guess.
    """
    first, guess = "", None
    half = parts["half"].str.lower().str[0]
    if "first" in parts:
        numbers = parts[["first", "next"]].apply(pd.to_numeric).astype("float64")
        first_is_day, next_is_day = int((numbers["first"] > 12).sum()), int((numbers["next"] > 12).sum())
        with_twelve_hours = bool(half.notna().any())  # as in the United States, where the month comes first
        day_first = first_is_day > next_is_day or (first_is_day == next_is_day and not with_twelve_hours)
        first = "day (31/05/2024)" if day_first else "month (05/31/2024)"
        if first_is_day == next_is_day and (parts["mark"] != ".").any() and numbers["first"].notna().any():
            guess = DATE_GUESSED.format("day" if day_first else "month")
        day, month = numbers["first" if day_first else "next"], numbers["next" if day_first else "first"]
    else:
        day, month = pd.to_numeric(parts["day"]), parts["month"].str.lower().map(MONTHS)
    year, hour, minute, second = (
        pd.to_numeric(parts[name]).astype("float64") for name in ("year", "hour", "minute", "second")
    )
    hour = hour.fillna(0)
    fields = {
        # Two digits are a year from 1969 to 2068, as POSIX has it.
        "year": year + 2000.0 * (year < 69) + 1900.0 * ((year >= 69) & (year < 100)),
        "month": month.astype("float64"),
        "day": day.astype("float64"),
        "hour": hour.where(half.isna(), hour % 12 + 12 * (half == "p").fillna(False).astype("float64")),
        "minute": minute.fillna(0),
        "second": second.fillna(0),
    }
    times = pd.to_datetime(pd.DataFrame(fields), errors="coerce", utc=True)
    zone = parts["zone"].str.replace(":", "")
    ahead = pd.to_numeric(zone.str[0] + zone.str[3:5]) + 60 * pd.to_numeric(zone.str[:3])
    return times - pd.to_timedelta(ahead.astype("float64").fillna(0), unit="min"), first, guess


def _refuse_mixed_numbers(
    used: npt.NDArray[np.object_], counts: dict[str, int], header: str, rows: pd.Index, table: TableFile
) -> None:
    mixed = [each.name for each in NUMBER_FORMATS if each.name in counts]
    if len(mixed) > 1:
        listed = " and ".join(f"{name} ({table.place(rows[used == name])})" for name in mixed)
        raise UserError(f"the times in column {header!r} of {table.path} mix {listed}: write all in one way")


def _three_cells(cells: pd.Series, table: TableFile) -> str:
    """Three different cells with their lines. One without a digit may be private, and is not shown."""
    examples = cells.drop_duplicates()[:EXAMPLE_ROWS]
    shown = [
        repr(str(cell)[:LONGEST_SHOWN])
        if any(c.isdigit() for c in str(cell)) and "@" not in str(cell)
        else "a word"
        for cell in examples
    ]
    return ", ".join(
        f"{cell} ({table.place(pd.Index([row]))})" for cell, row in zip(shown, examples.index, strict=True)
    )


def _with_clock(
    dates: pd.Series, cells: pd.Series, header: str, table: TableFile
) -> tuple[pd.Series, Problem | None]:
    """Add the time of day to dates. A clock that is not understood is left alone, which the problem says."""
    text = as_values(cells)
    clock = as_clocks(text)
    unread = clock.isna() & text.notna()
    if clock.notna().sum() == 0:
        return dates, Problem(f"the time of day in column {header!r} is not understood, and is not used")
    times = (dates + clock.fillna(pd.Timedelta(0))).mask(unread)
    if not unread.any():
        return times, None
    shown = _three_cells(text[unread], table)
    what = f"times of day in column {header!r} that are not understood, such as {shown}"
    return times, Problem(what, int(unread.sum()), table.place(text.index[unread]))
