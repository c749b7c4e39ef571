"""Convert a column's cells to text and to ids, and shopper ids to keyed hashes."""

import hashlib
import secrets
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from terrycloth.experiments.datasets.tables import EXACT, TableFile
from terrycloth.models.errors import UserError

# What programs write into a cell that holds nothing. Titles are exempt: a film is called "None".
MISSING = pa.array(["none", "null", "undefined", "nan", "nat", "\\n", "n/a", "#n/a", "<na>", "n.a."])
MISSING_AS_WRITTEN = pa.array(["NA"])  # as R writes it; "na" could be a value
POINT_ZERO = r"\d+\.0"  # as programs write whole numbers beside a missing one
SHORTENED = r"[+-]?\d+(?:[.,]\d+)?[eE]\+?\d+"  # 4.00638E+12, to which Excel shortens long numbers


def as_text(column: pd.Series) -> pd.Series:
    """Stripped strings; blank cells are missing. Whole numbers lose the ".0" that missing cells gave them."""
    if pd.api.types.is_float_dtype(column):
        known = column.dropna()
        if (known % 1 == 0).all() and (known.abs() < EXACT).all():
            column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.mask(text == "")


def as_values(column: pd.Series) -> pd.Series:
    """As `as_text`; what programs write for a missing value (None, undefined, N/A) is missing too."""
    text = as_text(column)
    cells = pa.array(text.array)
    nothing = pc.or_kleene(pc.is_in(pc.ascii_lower(cells), MISSING), pc.is_in(cells, MISSING_AS_WRITTEN))
    return text.mask(nothing.to_numpy(zero_copy_only=False)) if pc.any(nothing).as_py() else text


def as_ids(column: pd.Series, header: str, table: TableFile) -> pd.Series:
    """Ids as text, exactly as they are in the file; missing values are missing.

    Raises UserError if the file no longer tells neighbouring ids apart: if they went through floating-point
    numbers, or were shortened by Excel.
    """
    if pd.api.types.is_float_dtype(column) and (column.abs() >= EXACT).any():
        place = table.place(column.index[column.abs() >= EXACT])
        raise UserError(
            f"column {header!r} of {table.path} holds ids as floating-point numbers, which cannot tell "
            f"ids above 2^53 apart ({place}): export it as text or as whole numbers"
        )
    values = as_values(column)
    distinct = pd.Series(values.unique()).dropna().astype("string")
    shortened = distinct[distinct.str.fullmatch(SHORTENED)]
    if len(shortened):
        place = table.place(values.index[values.isin(shortened)])
        raise UserError(
            f"column {header!r} of {table.path} holds ids that Excel has shortened, as in 4.00638E+12 "
            f"({place}): export it again, and do not save it with Excel"
        )
    if len(distinct) and distinct.str.fullmatch(POINT_ZERO).all():
        return values.str.removesuffix(".0")
    return values


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


def by_distinct(text: pd.Series, convert: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Apply a cell-by-cell conversion of text once to each different cell, which is much less work."""
    codes, distinct = pd.factorize(text, use_na_sentinel=False)
    return convert(pd.Series(distinct)).take(codes).set_axis(text.index)
