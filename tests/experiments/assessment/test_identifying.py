"""How identifying purchases are, counted by hand for a few shoppers."""

import numpy as np
import pandas as pd
import pytest

from terrycloth.client.events import Events
from terrycloth.experiments.assessment import identifying as module
from terrycloth.experiments.assessment.identifying import bought_values, share_in_small_groups, unicity
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.times import DAY


def events(rows: list[tuple[int, int, int]], devices: int) -> Events:
    """Return events from rows of device, item and day."""
    device, item, day = (np.array(column) for column in zip(*rows, strict=True))
    return Events.from_columns(device, item, day * DAY, np.ones(len(rows)), devices)


def test_one_purchase_singles_out_the_only_shopper_with_it() -> None:
    # Shoppers 0 and 1 bought item 0 on day 5; only shopper 2 bought it on day 6.
    data = events([(0, 0, 5), (1, 0, 5), (2, 0, 6)], devices=3)
    assert unicity(data, 1) == pytest.approx(1 / 3)
    assert unicity(data, 1, dated=False) == 0.0


def test_two_purchases_together_single_out_a_shopper() -> None:
    # Each purchase is shared, but no two shoppers share both of theirs.
    data = events([(0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 2, 1), (2, 0, 1), (2, 2, 1)], devices=3)
    assert unicity(data, 1) == 0.0
    assert unicity(data, 2) == 1.0


def test_a_repeated_purchase_counts_once() -> None:
    data = events([(0, 0, 1), (0, 0, 1)], devices=1)
    assert unicity(data, 2) is None


def test_small_groups_are_counted_by_the_set_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_GROUP", 2)
    table = pd.DataFrame(
        {"item": ["a", "b", "c"], "title": ["a", "b", "c"], "colour": [("red",), ("red", "blue"), ()]}
    )
    # Two shoppers bought only red items, one a red and a blue one, and one an item without a colour.
    data = events([(0, 0, 1), (1, 0, 1), (2, 1, 1), (3, 2, 1)], devices=4)
    bought = bought_values(data, Catalogue(table), "colour")
    assert (bought.toarray() > 0).tolist() == [[True, False], [True, False], [True, True], [False, False]]
    assert share_in_small_groups(bought) == pytest.approx(1 / 3)


def test_the_sample_is_the_same_every_time() -> None:
    random = np.random.default_rng(1)
    rows = [(device, int(item), 1) for device in range(50) for item in random.integers(0, 20, 3)]
    assert unicity(events(rows, 50), 2) == unicity(events(rows[::-1], 50), 2)
