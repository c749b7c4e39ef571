"""An item as a bag of rows of one shared table: its own row, its attribute values' rows, or both.

Matrix factorisation (Koren, Bell & Volinsky 2009) is the bag of the item's own row; factorisation by
attributes (as in LightFM, Kula 2015) is the bag of its attribute values' rows. An item's vector is the sum of
its bag's rows, so one model, one trainer and one explanation serve both.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from terrycloth.models.catalogue import ITEM, TITLE, Catalogue

NOTHING = -1  # fills the bags that are shorter than the longest


@dataclass(frozen=True)
class Bag:
    """rows: int64 [items, longest], NOTHING where a bag is shorter. names: one a row of the table."""

    rows: Tensor
    names: list[str]

    @property
    def num_items(self) -> int:
        """Items in the catalogue."""
        return self.rows.shape[0]

    @property
    def num_rows(self) -> int:
        """Rows of the shared table."""
        return len(self.names)

    def incidence(self) -> Tensor:
        """Sparse [items, rows], 1 where the row is in the item's bag: vectors = incidence @ table."""
        items, places = torch.nonzero(self.rows != NOTHING, as_tuple=True)
        indices = torch.stack([items, self.rows[items, places]])
        ones = torch.ones(indices.shape[1])
        shape = (self.num_items, self.num_rows)
        return torch.sparse_coo_tensor(indices, ones, shape, check_invariants=True).coalesce()


@lru_cache(maxsize=8)  # a node is asked for the same bag in every round
def build_bag(catalogue: Catalogue, *, attributes: bool, own_rows: bool, title_words: bool = False) -> Bag:
    """The bag of every item of the catalogue; rows are numbered own rows first, then attribute by attribute.

    title_words: words that two titles or more share are values of an attribute `word`.

    An item with no known attribute and no row of its own would be the zero vector, which no shopper could
    ever be shown; such items get the row `unknown`.
    """
    num_items = len(catalogue)
    names: list[str] = []
    item_numbers: list[np.ndarray] = []
    row_numbers: list[np.ndarray] = []
    if own_rows:
        names += [f"item {name}" for name in catalogue.table[ITEM]]
        item_numbers.append(np.arange(num_items))
        row_numbers.append(np.arange(num_items))
    columns: dict[str, Iterable[tuple[str, ...]]] = {
        name: catalogue.table[name] for name in (catalogue.attributes if attributes else [])
    }
    if title_words:
        columns["word"] = shared_words(catalogue.table[TITLE])
    for attribute, column in columns.items():
        # A value named twice for one item is one row of its bag.
        cells = [tuple(dict.fromkeys(values)) for values in column]
        exploded = pd.Series(cells, dtype=object).explode().dropna()
        codes, values = pd.factorize(exploded, sort=True)
        item_numbers.append(exploded.index.to_numpy())
        row_numbers.append(codes + len(names))
        names += [f"{attribute}={value}" for value in values]
    items = np.concatenate([*item_numbers, np.empty(0, dtype=np.int64)])
    rows = np.concatenate([*row_numbers, np.empty(0, dtype=np.int64)])
    bare = np.setdiff1d(np.arange(num_items), items)
    if len(bare):
        items, rows = np.concatenate([items, bare]), np.concatenate([rows, np.full(len(bare), len(names))])
        names.append("unknown")
    return Bag(rows=torch.from_numpy(_padded(items, rows, num_items)), names=names)


def shared_words(titles: pd.Series) -> list[tuple[str, ...]]:
    """Of each title the words, in lower case, that another title has too: two letters or more, no digits."""
    words = [tuple(dict.fromkeys(re.findall(r"[^\W\d_]{2,}", str(title).lower()))) for title in titles]
    counts = Counter(word for title in words for word in title)
    return [tuple(word for word in title if counts[word] > 1) for title in words]


def _padded(items: np.ndarray, rows: np.ndarray, num_items: int) -> np.ndarray:
    """Pairs (item, row) as a rectangle [items, longest], padded with NOTHING."""
    order = np.argsort(items, kind="stable")
    items, rows = items[order], rows[order]
    counts = np.bincount(items, minlength=num_items)
    starts = np.cumsum(counts) - counts
    padded = np.full((num_items, int(counts.max(initial=1))), NOTHING, dtype=np.int64)
    padded[items, np.arange(len(items)) - starts[items]] = rows
    return padded
