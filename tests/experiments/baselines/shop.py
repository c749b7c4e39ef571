"""Small shops whose baselines can be worked out by hand."""

import numpy as np
import pandas as pd

from terrycloth.client.events import Events
from terrycloth.experiments.baselines.row import Context
from terrycloth.experiments.evaluation.split import DAY
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue


def catalogue_of(
    num_items: int, *, titles: list[str] | None = None, items: list[str] | None = None, **attributes: list
) -> Catalogue:
    """By default titles of one word each, and identifiers that are no codes."""
    columns = {
        ITEM: items or [f"t{item}" for item in range(num_items)],
        TITLE: titles or [f"word{item}" for item in range(num_items)],
    }
    return Catalogue(pd.DataFrame(columns | attributes))


def bought(rows: list[tuple[int, ...]], devices: int) -> Events:
    """Rows of device, item and day; without a day each row is a visit of its own, in their order."""
    columns = np.array(
        [(row[0], row[1], row[2] if len(row) > 2 else number) for number, row in enumerate(rows)]
    )
    return Events.from_columns(columns[:, 0], columns[:, 1], columns[:, 2] * DAY, np.ones(len(rows)), devices)


def context_of(
    train: Events, catalogue: Catalogue | int, day: int = 1000, *, repeats: bool = False
) -> Context:
    """`now` is the midnight of that day."""
    known = catalogue_of(catalogue) if isinstance(catalogue, int) else catalogue
    return Context(train, known, day * DAY, repeats)
