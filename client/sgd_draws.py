"""What one step of one device draws: its batch, its negatives, and the noise that it reads."""

from typing import NamedTuple

import numpy as np

from client.compiled import Array, compiled
from client.compiled_streams import (
    LANES,
    NORMALS,
    UNIFORMS,
    WORDS,
    fill_normals,
    fill_uniforms,
    fill_words,
)
from models.randomness import Purpose

u32 = np.uint32

BATCH = int(Purpose.BATCH)
NEGATIVES = int(Purpose.NEGATIVES)
LAZY_NOISE = int(Purpose.LAZY_NOISE)

UNIFORMS_OF_BLOCK = WORDS // 2
READY = 1024  # normals drawn ahead, at most


class Draws(NamedTuple):
    """Room for a step's draws."""

    batch: Array  # events: int64 [longest history]
    candidates: Array  # items, then their places: uint32 [longest history, 1 + negatives]
    words: Array  # uint32 [WORDS, LANES]
    uniforms: Array  # float64 [UNIFORMS]
    normals: Array  # float32 [max(READY, dim) + NORMALS]
    cursor: Array  # of the step's noise, int64 [2]: normals that are ready, and blocks they came from


@compiled()
def room_for_draws(longest, negatives, dim):
    """For histories of at most so many events."""
    return Draws(
        np.empty(longest + 1, np.int64),  # one more: a coin is written before it is known to fall
        np.empty((longest, 1 + negatives), np.uint32),
        np.empty((WORDS, LANES), np.uint32),
        np.empty(UNIFORMS, np.float64),
        np.empty(max(READY, dim) + NORMALS, np.float32),
        np.zeros(2, np.int64),
    )


@compiled()
def draw_batch(key, device, question, step, sampling_rate, events, draws):
    """The events whose coins fall for this step, into draws.batch; gives their number."""
    batch, words, uniforms = draws.batch, draws.words, draws.uniforms
    size = 0
    for start in range(0, events, UNIFORMS):
        fill_words(key, device, question, step, BATCH, start // UNIFORMS_OF_BLOCK, words)
        fill_uniforms(words, uniforms)
        for place in range(min(UNIFORMS, events - start)):
            batch[size] = start + place
            size += int(uniforms[place] < sampling_rate)
    return size


@compiled()
def draw_candidates(key, device, question, step, size, items, catalogue, draws):
    """The batch's items, and negatives from the whole catalogue beside each, into draws.candidates."""
    batch, candidates, words, uniforms = draws.batch, draws.candidates, draws.words, draws.uniforms
    negatives = candidates.shape[1] - 1
    for example in range(size):
        candidates[example, 0] = u32(items[batch[example]])
    example, column = 0, 1
    for start in range(0, size * negatives, UNIFORMS):
        fill_words(key, device, question, step, NEGATIVES, start // UNIFORMS_OF_BLOCK, words)
        fill_uniforms(words, uniforms)
        for place in range(min(UNIFORMS, size * negatives - start)):
            candidates[example, column] = u32(uniforms[place] * catalogue)
            column += 1
            if column > negatives:
                example, column = example + 1, 1


@compiled()
def draw_normals(key, device, question, step, count, draws):
    """Put the next `count` draws or more of the step's noise into draws.normals; what was there is lost.

    Who calls keeps count of those it uses, and asks for many: a call for each row costs more than its noise.
    """
    normals, cursor = draws.normals, draws.cursor
    drawn = 0
    while drawn < count:
        fill_words(key, device, question, step, LAZY_NOISE, cursor[1], draws.words)
        fill_normals(draws.words, normals[drawn : drawn + NORMALS])
        drawn += NORMALS
        cursor[1] += LANES
    cursor[0] = drawn
