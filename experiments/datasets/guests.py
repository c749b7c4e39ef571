"""Shopper ids that stand for many people: guests without an account, and tills that book on one number.

What such an id bought is no history of a person: it teaches a model nothing about taste, and one promise of
privacy would cover thousands of people at once. The rule names an id only where its word or number says that
it is nobody's, or where its share of the rows is one that no person has.
"""

import re

import pandas as pd

from terrycloth.experiments.datasets.headers import simplify

# Ids that say so themselves, in English, German and French, as `simplify` writes them.
GUEST_WORDS = (
    "guest guestuser guestcheckout guestcustomer anonymous anon unknown walkin walkincustomer notloggedin "
    "nocustomer noaccount gast gastkunde gastbestellung anonym unbekannt laufkunde laufkundschaft barverkauf "
    "invite anonyme inconnu clientdepassage"
)
GUEST_NUMBER = r"-1|0+|9{4,}"  # numbers that systems fill in; a data set may number its people from 0, too
FEWEST_ROWS, TIMES_THE_NEXT = (
    10,
    3,
)  # such a number stands for guests with so many rows, and so many times the next
SHARE, FEWEST_SHOPPERS, MANY_TIMES_THE_NEXT = 0.1, 20, 10  # any other id, among so many shoppers at least


def guest_ids(shoppers: pd.Series) -> dict[str, float]:
    """The ids that stand for guests, each with its share of the rows. shoppers: text, one id per row.

    An id is one of guests if it is a word for a guest; if it is 0, -1 or 9999 and has at least 10 rows and 3
    times the rows of the next shopper; or if it has a tenth of all rows and 10 times the rows of the next,
    among 20 shoppers or more. The largest customers of real shops stay far below: 2% of the rows of Online
    Retail.
    """
    counts = shoppers.value_counts()
    words = {str(shopper) for shopper in counts.index if simplify(str(shopper)) in GUEST_WORDS.split()}
    largest = counts.drop(list(words))[:2]
    found = set(words)
    if len(largest) == 2:
        shopper, rows, next_rows = str(largest.index[0]), int(largest.iloc[0]), int(largest.iloc[1])
        number = re.fullmatch(GUEST_NUMBER, shopper) is not None
        many = rows >= SHARE * counts.sum() and rows >= MANY_TIMES_THE_NEXT * next_rows
        if (number and rows >= max(FEWEST_ROWS, TIMES_THE_NEXT * next_rows)) or (
            many and len(counts) >= FEWEST_SHOPPERS
        ):
            found.add(shopper)
    return {shopper: float(counts[shopper] / counts.sum()) for shopper in sorted(found)}


def guest_name(shopper: str) -> str:
    """How a report names such an id: itself if it is a word or number for nobody, else without saying it."""
    nobody = simplify(shopper) in GUEST_WORDS.split() or re.fullmatch(GUEST_NUMBER, shopper)
    return f"shopper id {shopper!r}" if nobody else "one shopper id"
