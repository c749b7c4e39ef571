"""What every data set provides: a public catalogue, private events, and a report on what was read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.client.events import Events
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError

if TYPE_CHECKING:  # what is wrong with the options is told before torch is loaded
    from torch import Tensor


@dataclass(frozen=True)
class DataOptions:
    """The user's options for where the data are and how to read them."""

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
    """In what order a file lists the lines of a visit, counted before that order is discarded.

    visits: the number of visits with several items. ascending: how many of these list their lines in
    ascending order of item id. by_chance: the expected number if the order were random.
    """

    visits: int
    ascending: int
    by_chance: float


@dataclass
class ImportReport:
    """What was read and what was left out. Always, rows_read = rows_kept + the sum of rows_dropped.

    file_order: None if there are no times and so no visits.
    """

    source: str
    rows_read: int = 0
    rows_kept: int = 0
    rows_dropped: dict[str, int] = field(default_factory=dict)
    columns_kept: list[str] = field(default_factory=list)
    columns_dropped: list[str] = field(default_factory=list)
    columns_never_read: dict[str, str] = field(
        default_factory=dict
    )  # name → reason (looks like an e-mail address …)
    notes: list[str] = field(default_factory=list)
    file_order: FileOrder | None = None

    def drop(self, reason: str, rows: int) -> None:
        """Count the rows left out for a reason. A reason without rows is not listed."""
        if rows:
            self.rows_dropped[reason] = self.rows_dropped.get(reason, 0) + int(rows)

    def check(self) -> None:
        """Raise AssertionError if a row was lost without a reason, which is a bug in the loader."""
        dropped = sum(self.rows_dropped.values())
        if self.rows_read != self.rows_kept + dropped:
            raise AssertionError(f"read {self.rows_read} rows, kept {self.rows_kept}, dropped {dropped}")


@dataclass(frozen=True)
class PublishedTest:
    """The test part of a published split, as int32 arrays.

    items: [devices], the held-out item, −1 if there is none. negatives: [devices, 99], padded with −1.
    """

    items: npt.NDArray[Any]
    negatives: npt.NDArray[Any]


@dataclass(frozen=True)
class Dataset:
    """Shoppers' events over a catalogue. Device d of `events` is shopper d.

    groups: one column per demographic attribute and one row per device, for audits only; nothing trains on
    it. times_known: False if the data have no times; all that a shopper did is then one visit, at time 0.
    catalogue_from_events: whether the catalogue is derived from what shoppers chose, which no promise covers.
    ceiling: for synthetic data, maps the training events of all devices to named scorers, as
    `evaluate.rank_targets` takes them, so that a ceiling is measured on the same targets and shoppers as a
    model. The scorers rank only items not bought before, so they do not apply if repeats count.
    """

    name: str
    catalogue: Catalogue
    events: Events
    report: ImportReport
    groups: pd.DataFrame | None = None
    published: PublishedTest | None = None
    times_known: bool = True
    catalogue_from_events: bool = False
    ceiling: Callable[[Events], dict[str, Callable[[npt.NDArray[np.int64]], "Tensor"]]] | None = None

    def take(self, devices: int | None, seed: int) -> "Dataset":
        """Draw a random sample of this many devices (None: all), in their original order.

        Raises UserError if there are fewer devices.
        """
        available = self.events.num_devices
        if devices is None or devices == available:
            return self
        if devices > available:
            raise UserError(
                f"--devices {devices} is more than the {available} that {self.name} holds: "
                f"use {available} or fewer"
            )
        chosen = np.sort(np.random.default_rng(seed).permutation(available)[:devices])
        return replace(
            self,
            events=self.events.take(chosen),
            groups=None if self.groups is None else self.groups.iloc[chosen].reset_index(drop=True),
            published=None
            if self.published is None
            else PublishedTest(self.published.items[chosen], self.published.negatives[chosen]),
        )
