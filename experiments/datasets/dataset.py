"""What every data set provides: a public catalogue, private events, and a report on what was read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.client.events import Events
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.settings.shop_systems import ShopSystem
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
    title_column: str | None = None
    format: ShopSystem = "auto"
    unknown_items: Literal["error", "drop"] = "error"
    keep_guests: bool = False
    strict: bool = False
    visit: Literal["instant", "day"] = "instant"
    devices: int | None = None
    data_seed: int = 0


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
