"""What the steps of some devices read, drawn before the devices are trained, and the noise of their steps.

Sampling draws, batches and negatives do not depend on the model. So compiled code can draw them first, with
the same results as `SgdTrainer`, which draws from the same streams. The items that a device reads in any step
are its slots: a device needs a copy of only those rows of a table. What a step reads is drawn again when the
step is trained, some interactions at a time, because storing it would take memory that grows with the
device's events.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from terrycloth.client.training.compiled.compile import Array, compiled
from terrycloth.client.training.compiled.compiled_streams import (
    LANES,
    NORMALS,
    WORDS,
    fill_normals,
    fill_words,
)
from terrycloth.client.training.compiled.sgd_draws import (
    LAZY_NOISE,
    draw_batch,
    draw_candidates,
    draws_of,
    room_for_draws,
)
from terrycloth.client.training.compiled.sgd_kernel import Histories
from terrycloth.client.training.compiled.threads import threads_for

LEAST_BLOCKS = 20_000  # smallest number of noise blocks for which another thread pays off


class Sampling(NamedTuple):
    """How the steps of all devices sample events and negatives; `catalogue` is the number of items."""

    key: Array
    query: int
    steps: int
    rate: float
    negatives: int
    catalogue: int


class Reads(NamedTuple):
    """What the steps of some devices read. Slot 0 belongs to no item, so zeros are padding.

    rows: int32 [devices, slots], the item of each slot, counted from 1. sizes: int64 [devices, steps], the
    sizes of the batches.
    """

    rows: Array
    sizes: Array


class Chunk(NamedTuple):
    """Some interactions of one step of some devices, padded with zeros for devices that have fewer.

    slots: int32 [devices, examples, 1 + negatives], the positive item first. first: int32 of the same shape,
    the first place in the example with the same item. weights: float32 [devices, examples].
    """

    slots: Array
    first: Array
    weights: Array


def draw_reads(histories: Histories, sampling: Sampling) -> Reads:
    """Draw which rows the steps of these devices read."""
    devices, longest = len(histories.devices), int(np.diff(histories.offsets).max(initial=0))
    most_slots = 1 + min(sampling.catalogue, sampling.steps * longest * (1 + sampling.negatives))
    reads = Reads(np.zeros((devices, most_slots), np.int32), np.zeros((devices, sampling.steps), np.int64))
    with threads_for(histories.offsets) as edges:
        threads = len(edges) - 1
        slot_of = np.zeros((threads, sampling.catalogue), np.int32)
        room = room_for_draws(threads, longest, sampling.negatives, 0)
        fill_reads(histories, sampling, reads, edges, slot_of, room)
    slots = 1 + int(np.count_nonzero(reads.rows, axis=1).max(initial=0))
    return Reads(np.ascontiguousarray(reads.rows[:, :slots]), reads.sizes)


@compiled(parallel=True)
def fill_reads(histories, sampling, reads, edges, slot_of, room):
    """Run `fill_device` for devices edges[k] … edges[k + 1] − 1 on thread k."""
    for thread in prange(len(edges) - 1):
        draws = draws_of(room, np.int64(thread))
        for place in range(edges[thread], edges[thread + 1]):
            fill_device(histories, sampling, place, reads, slot_of[thread], draws)


@compiled()
def fill_device(histories, sampling, place, reads, slot_of, draws):
    """Fill one device's zeros in `reads`. slot_of: int32 [catalogue], zeros before and after."""
    start, stop = histories.offsets[place], histories.offsets[place + 1]
    device, items = histories.devices[place], histories.items[start:stop]
    key, query, rate, catalogue = sampling.key, sampling.query, sampling.rate, sampling.catalogue
    rows, chunk = reads.rows[place], len(draws.candidates)
    num_slots = 0
    for step in range(sampling.steps):
        size = draw_batch(key, device, query, step, rate, len(items), draws)
        reads.sizes[place, step] = size
        for begin in range(0, size, chunk):
            part = min(chunk, size - begin)
            draw_candidates(key, device, query, step, begin, part, draws.batch, items, catalogue, draws)
            for example in range(part):
                for item in draws.candidates[example]:
                    if slot_of[item] == 0:
                        num_slots += 1
                        slot_of[item] = num_slots
                        rows[num_slots] = item + 1
    for slot in range(1, num_slots + 1):
        slot_of[rows[slot] - 1] = 0


def draw_batches(histories: Histories, sampling: Sampling, step: int) -> Array:
    """Draw the events of a step's batches, of sizes `Reads.sizes`: int64 [devices, longest + 1]."""
    longest = int(np.diff(histories.offsets).max(initial=0))
    batches = np.zeros((len(histories.devices), longest + 1), np.int64)
    fill_batches(histories, sampling, step, batches, draws_of(room_for_draws(1, longest, 1, 0), 0))
    return batches


@compiled()
def fill_batches(histories, sampling, step, batches, draws):
    """Fill `batches`, which are zero before, as `draw_batches` returns them."""
    for place in range(len(batches)):
        events, device = histories.offsets[place + 1] - histories.offsets[place], histories.devices[place]
        size = draw_batch(sampling.key, device, sampling.query, step, sampling.rate, events, draws)
        batches[place, :size] = draws.batch[:size]


def draw_chunk(
    histories: Histories, sampling: Sampling, reads: Reads, step: int, batches: Array, places: slice
) -> Chunk:
    """Draw the interactions at these places of each device's batch."""
    shape = len(histories.devices), places.stop - places.start
    chunk = Chunk(
        np.zeros((*shape, 1 + sampling.negatives), np.int32),
        np.zeros((*shape, 1 + sampling.negatives), np.int32),
        np.zeros(shape, np.float32),
    )
    slot_of, place_of = np.zeros(sampling.catalogue, np.int32), np.zeros(sampling.catalogue, np.int32)
    draws = draws_of(room_for_draws(1, 0, sampling.negatives, 0), 0)
    fill_chunk(histories, sampling, reads, step, batches, places.start, chunk, slot_of, place_of, draws)
    return chunk


@compiled()
def fill_chunk(histories, sampling, reads, step, batches, start, chunk, slot_of, place_of, draws):
    """Fill the zeros in `chunk` as `draw_chunk` returns it. slot_of, place_of: zeros, int32 [catalogue]."""
    devices, most, columns = chunk.slots.shape
    for place in range(devices):
        rows, batch = reads.rows[place], batches[place]
        first_event, after = histories.offsets[place], histories.offsets[place + 1]
        items, weights = histories.items[first_event:after], histories.weights[first_event:after]
        for slot in range(1, len(rows)):
            if rows[slot] > 0:
                slot_of[rows[slot] - 1] = slot
        stop = min(reads.sizes[place, step], start + most)
        for begin in range(start, stop, len(draws.candidates)):
            part = min(len(draws.candidates), stop - begin)
            draw_candidates(
                sampling.key,
                histories.devices[place],
                sampling.query,
                step,
                begin,
                part,
                batch,
                items,
                sampling.catalogue,
                draws,
            )
            for each in range(part):
                candidates, example = draws.candidates[each], begin - start + each
                chunk.weights[place, example] = weights[batch[begin + each]]
                for column in range(columns):
                    item = candidates[column]
                    # An entry of another example counts only if this example has the item there too.
                    earlier = place_of[item]
                    if earlier >= column or candidates[earlier] != item:
                        earlier = column
                        place_of[item] = column
                    chunk.slots[place, example, column] = slot_of[item]
                    chunk.first[place, example, column] = earlier


def draw_noise(key: Array, query: int, step: int, devices: Array, count: int) -> Array:
    """Return the first `count` standard Gaussian draws of a step of each device: float32 [devices, count]."""
    blocks = -(-count // NORMALS)
    noise = np.empty((len(devices), blocks * NORMALS), np.float32)
    with threads_for(np.arange(len(devices) + 1) * blocks, max(1, LEAST_BLOCKS // max(1, blocks))) as edges:
        words = np.empty((len(edges) - 1, WORDS, LANES), np.uint32)
        fill_noise(key, query, step, devices, noise, edges, words)
    return noise[:, :count]


@compiled(parallel=True)
def fill_noise(key, query, step, devices, noise, edges, words):
    """Fill `noise`, with the threads of `fill_reads`; the length of a row is a multiple of NORMALS."""
    for thread in prange(len(edges) - 1):
        own = words[thread]
        for place in range(edges[thread], edges[thread + 1]):
            for start in range(0, noise.shape[1], NORMALS):
                fill_words(key, devices[place], query, step, LAZY_NOISE, start // NORMALS * LANES, own)
                fill_normals(own, noise[place, start : start + NORMALS])
