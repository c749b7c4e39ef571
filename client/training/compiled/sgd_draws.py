"""What one step of one device draws: its batch, its negatives, and the noise that it reads.

A batch is processed in chunks of a fixed size, so that memory does not grow with the device's events.
"""

from typing import NamedTuple

import numpy as np

from terrycloth.client.training.compiled.compile import Array, compiled
from terrycloth.client.training.compiled.compiled_streams import (
    LANES,
    NORMALS,
    UNIFORMS,
    WORDS,
    fill_normals,
    fill_uniforms,
    fill_words,
)
from terrycloth.client.training.compiled.threads import APART
from terrycloth.models.privacy.randomness import Purpose

u32 = np.uint32

BATCH = u32(Purpose.BATCH)
NEGATIVES = u32(Purpose.NEGATIVES)
LAZY_NOISE = u32(Purpose.LAZY_NOISE)

UNIFORMS_OF_BLOCK = WORDS // 2
READY = 1024  # largest number of normals drawn ahead
CANDIDATES = 2**18  # largest number in memory at a time, or those of one interaction if that is more


class Draws(NamedTuple):
    """Buffers for a step's draws."""

    batch: Array  # events of the batch: int64 [longest history + 1]
    candidates: Array  # a chunk's items, later replaced by their places: uint32 [chunk, 1 + negatives]
    words: Array  # uint32 [WORDS, LANES]
    uniforms: Array  # float64 [UNIFORMS]
    normals: Array  # float32 [max(READY, dim) + NORMALS]
    # Position in the step's noise: number of normals that are ready, and number of blocks they came from.
    cursor: Array  # int64 [2 + APART]


def room_for_draws(threads, longest, negatives, dim):
    """Allocate `Draws` for all threads, [threads, …]; `longest` is the length of the longest history.

    They are allocated here, once, because an error in a thread of a compiled loop would be lost.
    """
    return Draws(
        np.empty((threads, longest + 1), np.int64),  # + 1: an event is written before its draw decides
        np.empty((threads, max(1, CANDIDATES // (1 + negatives)), 1 + negatives), np.uint32),
        np.empty((threads, WORDS, LANES), np.uint32),
        np.empty((threads, UNIFORMS), np.float64),
        np.empty((threads, max(READY, dim) + NORMALS), np.float32),
        np.zeros((threads, 2 + APART), np.int64),
    )


@compiled()
def draws_of(room, thread):
    """Return one thread's part of `room_for_draws`."""
    return Draws(
        room.batch[thread],
        room.candidates[thread],
        room.words[thread],
        room.uniforms[thread],
        room.normals[thread],
        room.cursor[thread],
    )


@compiled()
def draw_batch(key, device, query, step, sampling_rate, events, draws):
    """Put the events sampled for this step into draws.batch; return their number."""
    batch, words, uniforms = draws.batch, draws.words, draws.uniforms
    size = 0
    for start in range(0, events, UNIFORMS):
        fill_words(key, device, query, step, BATCH, start // UNIFORMS_OF_BLOCK, words)
        fill_uniforms(words, uniforms)
        for place in range(min(UNIFORMS, events - start)):
            batch[size] = start + place
            size += int(uniforms[place] < sampling_rate)
    return size


@compiled()
def draw_candidates(key, device, query, step, start, size, batch, items, catalogue, draws):
    """Put a chunk of the batch into draws.candidates: each item, and negatives from the whole catalogue.

    The chunk is batch[start : start + size]. catalogue: number of items.
    """
    candidates, words, uniforms = draws.candidates, draws.words, draws.uniforms
    negatives = candidates.shape[1] - 1
    for example in range(size):
        candidates[example, 0] = u32(items[batch[start + example]])
    example, column = 0, 1
    first, last = start * negatives, (start + size) * negatives
    for block in range(first - first % UNIFORMS, last, UNIFORMS):
        fill_words(key, device, query, step, NEGATIVES, block // UNIFORMS_OF_BLOCK, words)
        fill_uniforms(words, uniforms)
        for place in range(max(first - block, 0), min(UNIFORMS, last - block)):
            candidates[example, column] = u32(uniforms[place] * catalogue)
            column += 1
            if column > negatives:
                example, column = example + 1, 1


@compiled()
def draw_normals(key, device, query, step, count, draws):
    """Put at least the next `count` draws of the step's noise into draws.normals, over the earlier ones.

    The caller counts the draws that it uses. It should request many at a time: one call per row costs more
    than the row's noise.
    """
    normals, cursor = draws.normals, draws.cursor
    drawn = 0
    while drawn < count:
        fill_words(key, device, query, step, LAZY_NOISE, cursor[1], draws.words)
        fill_normals(draws.words, normals[drawn : drawn + NORMALS])
        drawn += NORMALS
        cursor[1] += LANES
    cursor[0] = drawn
