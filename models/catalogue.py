"""The public catalogue: the items, and their attributes (colour, size, composition …)."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

ITEM = "item"
TITLE = "title"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items and their attributes, one row per item. The row number is the item's index everywhere.

    `table` has the columns `item` (the identifier, a unique string), `title` (what a person reads) and one
    column per attribute. An attribute cell is a tuple of values: empty if unknown, and several if an item has
    several (a film's genres). The catalogue is public: nothing in it may come from what shoppers did. Raises
    ValueError if the first two columns are wrong or an item occurs twice.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        if list(self.table.columns[:2]) != [ITEM, TITLE]:
            raise ValueError(f"a catalogue must start with the columns {ITEM!r} and {TITLE!r}")
        if self.table[ITEM].duplicated().any():
            repeated = self.table[ITEM][self.table[ITEM].duplicated()].iloc[0]
            raise ValueError(f"the catalogue holds item {repeated!r} twice")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def attributes(self) -> list[str]:
        """The names of the attribute columns."""
        return list(self.table.columns[2:])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that the catalogue says, in its order, as hexadecimal text.

        Two files with the same items, titles and attributes have the same fingerprint.
        """
        hashed = hashlib.sha256(json.dumps(list(self.table.columns)).encode())
        for item, title, *cells in self.table.itertuples(index=False, name=None):
            row = [str(item), str(title), *([str(value) for value in cell] for cell in cells)]
            hashed.update(json.dumps(row).encode())
        return hashed.hexdigest()

    def save(self, path: Path) -> None:
        """Write the catalogue as Parquet. Attribute columns become lists of strings."""
        table = self.table.copy()
        for name in self.attributes:
            table[name] = [list(values) for values in table[name]]
        table.to_parquet(path, index=False)

    @classmethod
    def load(cls, path: Path) -> "Catalogue":
        """Read what `save` wrote."""
        table = pd.read_parquet(path)
        for name in table.columns[2:]:
            table[name] = [tuple(values) for values in table[name]]
        return cls(table)
