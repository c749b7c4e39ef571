"""Sampled negatives: items that a shopper never had, among which published tables rank a target."""

import numpy as np
import numpy.typing as npt

from terrycloth.client.events import Events

SAMPLED = 99
DRAWS = 5  # draws of 99 over which metrics are averaged: a single draw changes HR@10 by about .01
NONE = -1  # padding, if the catalogue has too few items
BLOCK_NUMBERS = 2**24  # random numbers in memory at a time

Integers = npt.NDArray[np.int32]


def sample_negatives(events: Events, num_items: int, seed: int, draws: int = DRAWS) -> Integers:
    """Draw 99 different items that each shopper never had, uniformly, `draws` times.

    events: all events of the shoppers, including the targets. Returns int32 [devices, draws, 99]. Every item
    gets a random number, the items that the shopper had a larger one, and the 99 smallest are taken. The draw
    is exact, in blocks of shoppers.
    """
    generator = np.random.default_rng([seed, SAMPLED])
    num_devices, devices, items, starts = events.num_devices, events.devices, events.items, events.offsets
    drawn = np.full((num_devices, draws, SAMPLED), NONE, dtype=np.int32)
    taken = min(SAMPLED, num_items)
    block = max(1, BLOCK_NUMBERS // max(1, num_items))
    for draw in range(draws):
        for start in range(0, num_devices, block):
            stop = min(start + block, num_devices)
            numbers = generator.random((stop - start, num_items), dtype=np.float32)
            rows = slice(starts[start], starts[stop])
            numbers[devices[rows] - start, items[rows]] = 2.0
            smallest = np.argpartition(numbers, taken - 1, axis=1)[:, :taken]
            never_had = np.take_along_axis(numbers, smallest, axis=1) < 1.0
            drawn[start:stop, draw, :taken] = np.where(never_had, smallest, NONE)
    return drawn
