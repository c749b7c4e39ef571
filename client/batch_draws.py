"""What all steps of some devices read, drawn before any of them is trained, and their noise.

Coins, batches and negatives do not depend on the model: so they can be drawn first, in compiled code, and be
the same draws as `SgdTrainer` makes from the same streams. The items that a device reads in any step are its
slots: a device needs a copy of those rows of a table, and of no others.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from client.compiled import Array, compiled
from client.compiled_streams import LANES, NORMALS, WORDS, fill_normals, fill_words
from client.sgd_draws import LAZY_NOISE, draw_batch, draw_candidates, room_for_draws
from client.sgd_kernel import Histories
from client.threads import threads_for


class Reads(NamedTuple):
    """What the steps of some devices read. Zeros where there is nothing: slot 0 is no item's.

    rows: int32 [devices, slots], the item of each slot, counted from 1. slots: int32 [devices, steps,
    examples, 1 + negatives], the positive first. first: the same shape, the first place of the example that
    has the same item. weights: float32 [devices, steps, examples]. sizes: int64 [devices, steps], of the
    batches.
    """

    rows: Array
    slots: Array
    first: Array
    weights: Array
    sizes: Array


def draw_reads(
    key: Array, question: int, histories: Histories, steps: int, rate: float, negatives: int, catalogue: int
) -> Reads:
    """Everything that `steps` steps of these devices read, out of a catalogue of so many items."""
    devices, longest = len(histories.devices), int(np.diff(histories.offsets).max(initial=0))
    most_slots = 1 + min(catalogue, steps * longest * (1 + negatives))
    shape = (devices, steps, longest)
    reads = Reads(
        np.zeros((devices, most_slots), np.int32),
        np.zeros((*shape, 1 + negatives), np.int32),
        np.zeros((*shape, 1 + negatives), np.int32),
        np.zeros(shape, np.float32),
        np.zeros((devices, steps), np.int64),
    )
    with threads_for(histories.offsets) as edges:
        fill_reads(key, question, histories, rate, catalogue, reads, edges)
    examples = int(reads.sizes.max(initial=0))
    slots = 1 + int(np.count_nonzero(reads.rows, axis=1).max(initial=0))
    return Reads(
        reads.rows[:, :slots],
        reads.slots[:, :, :examples],
        reads.first[:, :, :examples],
        reads.weights[:, :, :examples],
        reads.sizes,
    )


@compiled()
def fill_device(key, question, place, histories, rate, reads, slot_of, draws):
    """What is of one device in `reads`, which are zeros. slot_of: zeros, int32 [catalogue], left so."""
    start, stop = histories.offsets[place], histories.offsets[place + 1]
    device, items, weights = (
        histories.devices[place],
        histories.items[start:stop],
        histories.weights[start:stop],
    )
    rows, slots, first = reads.rows[place], reads.slots[place], reads.first[place]
    num_slots = 0
    for step in range(slots.shape[0]):
        size = draw_batch(key, device, question, step, rate, len(items), draws)
        draw_candidates(key, device, question, step, size, items, len(slot_of), draws)
        reads.sizes[place, step] = size
        for example in range(size):
            candidates = draws.candidates[example]
            reads.weights[place, step, example] = weights[draws.batch[example]]
            for column in range(len(candidates)):
                item = candidates[column]
                if slot_of[item] == 0:
                    num_slots += 1
                    slot_of[item] = num_slots
                    rows[num_slots] = item + 1
                slots[step, example, column] = slot_of[item]
                earlier = 0
                while candidates[earlier] != item:
                    earlier += 1
                first[step, example, column] = earlier
    for slot in range(1, num_slots + 1):
        slot_of[rows[slot] - 1] = 0


@compiled(parallel=True)
def fill_reads(key, question, histories, rate, catalogue, reads, edges):
    """`fill_device` for devices edges[k] … edges[k + 1] − 1 on thread k."""
    _, _, longest, columns = reads.slots.shape
    for thread in prange(len(edges) - 1):
        slot_of = np.zeros(catalogue, np.int32)
        draws = room_for_draws(longest, columns - 1, 0)
        for place in range(edges[thread], edges[thread + 1]):
            fill_device(key, question, place, histories, rate, reads, slot_of, draws)


def draw_noise(key: Array, question: int, step: int, devices: Array, count: int) -> Array:
    """The first `count` standard Gaussian draws of one step of each device: float32 [devices, count]."""
    noise = np.empty((len(devices), -(-count // NORMALS) * NORMALS), np.float32)
    # A block of draws takes about as long as an event.
    with threads_for(np.arange(len(devices) + 1) * (noise.shape[1] // NORMALS)) as edges:
        fill_noise(key, question, step, devices, noise, edges)
    return noise[:, :count]


@compiled(parallel=True)
def fill_noise(key, question, step, devices, noise, edges):
    """Fill `noise`, whose rows are a multiple of NORMALS long, as `fill_reads` does."""
    for thread in prange(len(edges) - 1):
        words = np.empty((WORDS, LANES), np.uint32)
        for place in range(edges[thread], edges[thread + 1]):
            for start in range(0, noise.shape[1], NORMALS):
                fill_words(key, devices[place], question, step, LAZY_NOISE, start // NORMALS * LANES, words)
                fill_normals(words, noise[place, start : start + NORMALS])
