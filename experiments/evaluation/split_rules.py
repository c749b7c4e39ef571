"""The four rules that split shoppers' events into training events and targets.

Each rule is a function of events, which are sorted by device and visit, and of public numbers. It returns
which events are for training and which pairs of device and item are targets. No rule depends on the order of
rows in a file. A visit has no order: if one of its items has to be chosen, a draw keyed by the device's
number and the item chooses it, so that one more purchase of a shopper does not affect other shoppers.
"""

from typing import NamedTuple

import numpy as np

from terrycloth.client.events import Array, Events
from terrycloth.client.targets import Targets
from terrycloth.experiments.datasets.event_pairs import Pairs, pairs_of

BEYOND_ITEMS = 2**32  # added to an item's number for a second, independent draw


class Parted(NamedTuple):
    """The result of a rule. trains: bool [events], the training events. targets: those of every device."""

    trains: Array
    targets: Targets


def greatest(devices: Array, numbers: Array, num_devices: int) -> Array:
    """The greatest number of each device, −1 if it has none: int64 [num_devices]."""
    maximum = np.full(num_devices, -1, dtype=np.int64)
    np.maximum.at(maximum, devices, numbers)
    return maximum


def next_visit(events: Events, *, repeats: bool) -> Parted:
    """Test on the last visit with an item not bought before; neither it nor later visits are for training.

    Its new items are the targets. repeats: test on the last visit and all its items. If a shopper has no
    visit before it, all the shopper's events are for training, and the shopper is not tested.
    """
    pairs, visits, devices = pairs_of(events), events.visits, events.devices
    last = greatest(devices, visits, events.num_devices)
    if not repeats:
        last = greatest(pairs.devices, pairs.first, events.num_devices)
    tested = (last >= 1)[devices]
    if repeats:
        wanted = tested & (visits == last[devices])
        targets = Targets.from_pairs(devices[wanted], events.items[wanted], events.num_devices)
    else:
        wanted = (pairs.first == last[pairs.devices]) & (last >= 1)[pairs.devices]
        targets = Targets.from_pairs(pairs.devices[wanted], pairs.items[wanted], events.num_devices)
    return Parted(~tested | (visits < last[devices]), targets)


def by_date(events: Events, at: int, *, repeats: bool) -> Parted:
    """Train on the events before `at` (seconds since 1970); test on what shoppers seen before bought since.

    The targets are items that the shopper had not bought before; repeats: any items. One event more or less
    changes at most one training event.
    """
    trains, devices = events.times < at, events.devices
    seen = np.bincount(devices[trains], minlength=events.num_devices) > 0
    since = ~trains & seen[devices]
    pairs = np.unique(pair_numbers(events)[since])
    if not repeats:
        pairs = np.setdiff1d(pairs, pair_numbers(events)[trains], assume_unique=False)
    width = int(events.items.max(initial=0)) + 1
    return Parted(trains, Targets.from_pairs(pairs // width, pairs % width, events.num_devices))


def pair_numbers(events: Events) -> Array:
    """One number per pair of device and item: int64 [events]."""
    return events.devices * (int(events.items.max(initial=0)) + 1) + events.items


def basket(events: Events, seed: int, *, repeats: bool) -> Parted:
    """Complete the last visit that has at least two items, one of them new: one new item is the target.

    Half of the other items, rounded up, are given and used for training. The rest of the visit and later
    visits are left out. repeats: the target may be any item of the last visit with at least two items.
    """
    visits, devices = events.visits, events.devices
    width = int(visits.max(initial=0)) + 1
    pairs = pairs_of(events)
    in_visits = pairs_in_visits(events)  # each (visit, item) of a device once
    numbers, distinct = np.unique(in_visits.devices * width + in_visits.first, return_counts=True)
    fresh = np.isin(numbers, pairs.devices * width + pairs.first)
    candidates = numbers[(distinct >= 2) & (fresh | repeats)]
    last = greatest(candidates // width, candidates % width, events.num_devices)
    inside = in_visits.first == last[in_visits.devices]
    own, items = in_visits.devices[inside], in_visits.items[inside]
    draws = keyed_draws(seed, own, items)
    if not repeats:  # an item bought before cannot be a target, so it is drawn last
        item_width = int(events.items.max(initial=0)) + 1
        is_new = np.isin(own * item_width + items, (pairs.devices * item_width + pairs.items)[
            pairs.first == last[pairs.devices]
        ])  # fmt: skip
        draws = np.where(is_new, draws, draws + 1.0)
    drawn = np.lexsort((draws, own))
    target = drawn[np.append(True, own[drawn][1:] != own[drawn][:-1])[: len(own)]]
    draws = keyed_draws(seed, own, items + BEYOND_ITEMS)  # chooses the given items, new or not
    draws[target] = -1.0
    order = np.lexsort((draws, own))
    own, items = own[order], items[order]
    counts = np.bincount(own, minlength=events.num_devices)
    place = np.arange(len(own)) - (np.cumsum(counts) - counts)[own]
    target = place == 0
    given = (place >= 1) & (place <= counts[own] // 2)  # half of the n − 1 others, rounded up
    item_width = int(events.items.max(initial=0)) + 1
    kept = np.isin(pair_numbers(events), own[given] * item_width + items[given])
    untested = (last < 0)[devices]
    trains = untested | (visits < last[devices]) | ((visits == last[devices]) & kept)
    return Parted(trains, Targets.from_pairs(own[target], items[target], events.num_devices))


def pairs_in_visits(events: Events) -> Pairs:
    """The distinct items of each visit of each device; `first` is the visit."""
    item_width, visit_width = (int(column.max(initial=0)) + 1 for column in (events.items, events.visits))
    numbers = np.unique((events.devices * visit_width + events.visits) * item_width + events.items)
    visits = numbers // item_width
    return Pairs(visits // visit_width, numbers % item_width, visits % visit_width)


def last_item(events: Events, seed: int) -> Parted:
    """Test on one new item, chosen by a keyed draw, of the last visit with an item not bought before.

    The rest of that visit is for training; later visits are left out. All events of a shopper with fewer than
    two different items are for training, and the shopper is not tested. Published tables hold out one item in
    the same way, but take the last row instead of a draw.
    """
    pairs, devices = pairs_of(events), events.devices
    last = greatest(pairs.devices, pairs.first, events.num_devices)
    different = np.bincount(pairs.devices, minlength=events.num_devices)
    wanted = (pairs.first == last[pairs.devices]) & (different >= 2)[pairs.devices]
    own, items = pairs.devices[wanted], pairs.items[wanted]
    order = np.lexsort((keyed_draws(seed, own, items), own))
    own, items = own[order], items[order]
    chosen = np.append(True, own[1:] != own[:-1])[: len(own)]
    targets = Targets.from_pairs(own[chosen], items[chosen], events.num_devices)
    target = np.full(events.num_devices, -1, dtype=np.int64)
    target[own[chosen]] = items[chosen]
    tested = (different >= 2)[devices]
    trains = ~tested | ((events.visits <= last[devices]) & (events.items != target[devices]))
    return Parted(trains, targets)


def keyed_draws(seed: int, devices: Array, items: Array) -> Array:
    """A number in [0, 1) for each pair that depends only on the seed and the pair: float64 [pairs].

    The draws are public and must not be used for secrets. They apply SplitMix64's finaliser (Steele, Lea &
    Flood 2014, "Fast splittable pseudorandom number generators", figure 16) to the seed, the device and the
    item in turn.
    """
    mixed = np.full(len(devices), seed, dtype=np.uint64)
    for part in (devices, items):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.asarray(part).astype(np.uint64) + np.uint64(1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
