"""The distinct pairs of a device and an item among events."""

from typing import NamedTuple

import numpy as np

from terrycloth.client.events import Array, Events


class Pairs(NamedTuple):
    """The distinct pairs of device and item: int64 [pairs] each. first: the first visit with the pair."""

    devices: Array
    items: Array
    first: Array


def pairs_of(events: Events) -> Pairs:
    """The distinct pairs of the events, sorted by device and item."""
    width = int(events.items.max(initial=0)) + 1
    pairs, rows = np.unique(events.devices * width + events.items, return_index=True)
    return Pairs(pairs // width, pairs % width, events.visits[rows])
