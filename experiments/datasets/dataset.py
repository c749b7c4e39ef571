"""What every data set gives: a public catalogue, private events, and an account of what was read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from terrycloth.client.events import Events
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError


@dataclass(frozen=True)
class DataOptions:
    """What a user may say about where the data are and how to read them."""

    path: Path | None = None
    catalogue: Path | None = None
    category: str | None = None
    shopper_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    weight_column: str | None = None
    order_column: str | None = None
    strict: bool = False
    visit: Literal["instant", "day"] = "instant"
    devices: int | None = None
    data_seed: int = 0


@dataclass(frozen=True)
class FileOrder:
    """How a file lists the lines of a visit, counted before their order is lost.

    visits: those with several items. ascending: of these, how many whose lines stand in ascending order of
    item id. by_chance: how many would, in random order.
    """

    visits: int
    ascending: int
    by_chance: float


@dataclass
class ImportReport:
    """What was read and what was left out: rows_read = rows_kept + the sum of rows_dropped, always.

    file_order: None where there are no times, and so no visits.
    """

    source: str
    rows_read: int = 0
    rows_kept: int = 0
    rows_dropped: dict[str, int] = field(default_factory=dict)
    columns_kept: list[str] = field(default_factory=list)
    columns_dropped: list[str] = field(default_factory=list)
    columns_never_read: dict[str, str] = field(default_factory=dict)  # name → why (looks like an e-mail …)
    notes: list[str] = field(default_factory=list)
    file_order: FileOrder | None = None

    def drop(self, reason: str, rows: int) -> None:
        """Count rows left out for a reason; a reason with no rows is not listed."""
        if rows:
            self.rows_dropped[reason] = self.rows_dropped.get(reason, 0) + int(rows)

    def check(self) -> None:
        """Raise if a row was lost without a reason: a bug, not the user's fault."""
        dropped = sum(self.rows_dropped.values())
        if self.rows_read != self.rows_kept + dropped:
            raise AssertionError(f"read {self.rows_read} rows, kept {self.rows_kept}, dropped {dropped}")


@dataclass(frozen=True)
class PublishedTest:
    """A published split's test: items [devices] (−1: none) and negatives [devices, 99], −1 padded; int32."""

    items: npt.NDArray[Any]
    negatives: npt.NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Shoppers' events over a catalogue. Device d of `events` is shopper d.

    groups: one column a demographic attribute, one row a device, for audits only; nothing trains on it.
    times_known: false for want of times: all that a shopper did is then one visit, at time 0.
    catalogue_from_events: whether the items are those that shoppers chose, which no promise covers.
    ceiling: for synthetic data, maps training events, a row a device, to scorers of devices by what each
    knows: what `evaluate.rank_targets` takes, so that a ceiling is found of the very targets and
    shoppers that a model is measured by. They are of items not bought before, so not for repeats.
    """

    name: str
    catalogue: Catalogue
    events: Events
    report: ImportReport
    groups: pd.DataFrame | None = None
    published: PublishedTest | None = None
    times_known: bool = True
    catalogue_from_events: bool = False
    ceiling: Callable[[Events], dict[str, Callable[[npt.NDArray[np.int64]], Tensor]]] | None = None

    def take(self, devices: int | None, seed: int) -> "Dataset":
        """A random sample of so many devices (all, where None), in the data's own order."""
        held = self.events.num_devices
        if devices is None or devices == held:
            return self
        if devices > held:
            raise UserError(
                f"--devices {devices} is more than the {held} that {self.name} holds: ask for {held} or fewer"
            )
        chosen = np.sort(np.random.default_rng(seed).permutation(held)[:devices])
        return replace(
            self,
            events=self.events.take(chosen),
            groups=None if self.groups is None else self.groups.iloc[chosen].reset_index(drop=True),
            published=None
            if self.published is None
            else PublishedTest(self.published.items[chosen], self.published.negatives[chosen]),
        )
