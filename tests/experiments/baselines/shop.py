"""Small shops whose baselines can be computed by hand."""

import numpy as np
import pandas as pd

from terrycloth.client.events import Events
from terrycloth.experiments.baselines.row import Context
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.times import DAY


def catalogue_of(
    num_items: int, *, titles: list[str] | None = None, items: list[str] | None = None, **attributes: list
) -> Catalogue:
    """Return a catalogue with titles of one word each by default, and identifiers that are no codes."""
    columns = {
        ITEM: items or [f"t{item}" for item in range(num_items)],
        TITLE: titles or [f"word{item}" for item in range(num_items)],
    }
    return Catalogue(pd.DataFrame(columns | attributes))


def bought(rows: list[tuple[int, ...]], devices: int) -> Events:
    """Return events from rows of device, item and day; without days each row is a visit, in order."""
    columns = np.array(
        [(row[0], row[1], row[2] if len(row) > 2 else number) for number, row in enumerate(rows)]
    )
    return Events.from_columns(columns[:, 0], columns[:, 1], columns[:, 2] * DAY, np.ones(len(rows)), devices)


def context_of(
    train: Events, catalogue: Catalogue | int, day: int = 1000, *, repeats: bool = False
) -> Context:
    """Return a context whose `now` is midnight of the given day."""
    known = catalogue_of(catalogue) if isinstance(catalogue, int) else catalogue
    return Context(train, known, day * DAY, repeats)
