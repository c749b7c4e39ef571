"""Items that a shopper never had, for the sampled protocol of published tables."""

import numpy as np
import numpy.typing as npt

from terrycloth.client.events import Events

SAMPLED = 99
DRAWS = 5  # over which the sampled protocol is averaged: one draw of 99 moves HR@10 by some .01
NONE = -1  # pads where the catalogue has too few
BLOCK_NUMBERS = 2**24  # random numbers held at a time

Integers = npt.NDArray[np.int32]


def sample_negatives(events: Events, num_items: int, seed: int, draws: int = DRAWS) -> Integers:
    """99 different items a shopper never had, uniformly, `draws` times: int32 [devices, draws, 99].

    events: all of the shoppers', the targets included. Every item gets a random number, those the shopper had
    a larger one, and the least 99 are taken: exact, in blocks of shoppers.
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
            least = np.argpartition(numbers, taken - 1, axis=1)[:, :taken]
            free = np.take_along_axis(numbers, least, axis=1) < 1.0
            drawn[start:stop, draw, :taken] = np.where(free, least, NONE)
    return drawn
