"""Which rows of the shared parameters a device and each of its steps read, and the values that they read.

A row is read as θ + D, where D holds what the device's own steps have added to it, including the noise of
earlier steps (client/training/compiled/sgd_kernel.py explains why the noise is drawn only then).
"""

from typing import NamedTuple

import numpy as np

from terrycloth.client.training.compiled.compile import Array, compiled
from terrycloth.client.training.compiled.sgd_draws import READY, draw_normals

f32 = np.float32
u32 = np.uint32


class Reads(NamedTuple):
    """The rows of the table, or the items, that a device reads (slots) and one of its steps reads (places).

    Slots and places are numbered in the order of reading, so that the data of the loops lies together in the
    nearest cache. The number of a row is valid only if the list holds that row at that number, so nothing has
    to be cleared for the next device or step (sparse sets, Briggs & Torczon 1993). Indices are uint32,
    because numba then generates no code for indices from the end. In loops that do not start at 0, that code
    takes a tenth of the whole round unless the loop's number is converted to uint32. Arrays are [n] unless a
    shape is given.
    """

    slot_of: Array  # by row
    row_of_slot: Array
    place_of: Array  # by row
    row_of_place: Array
    slot_of_place: Array
    # By slot.
    change: Array  # D: float64 [n, dim], or [n]
    drawn: Array  # number of steps whose noise is in D: int64
    # By place.
    current: Array  # θ + D as the step reads it: float32 [n, dim], or [n]
    score: Array  # for a row x · current, for an item its score: float32
    move: Array  # the step's clipped gradient, as a factor of x for a row: float64
    gradient: Array  # an interaction's gradient, likewise: float32
    marked: Array  # the interaction that last wrote to this place: int64


def no_reads(threads, size, *dim):
    """Allocate empty `Reads` of `size` rows or items for all threads, [threads, …]. D is [size, *dim]."""
    each, shape = (threads, size), (threads, size, *dim)
    return Reads(
        np.zeros(each, np.uint32),
        np.zeros(each, np.uint32),
        np.zeros(each, np.uint32),
        np.zeros(each, np.uint32),
        np.zeros(each, np.uint32),
        np.empty(shape, np.float64),
        np.empty(each, np.int64),
        np.empty(shape, np.float32),
        np.empty(each, np.float32),
        np.zeros(each, np.float64),
        np.empty(each, np.float32),
        np.zeros(each, np.int64),
    )


@compiled()
def reads_of(reads, thread):
    """Return one thread's part of `no_reads`."""
    return Reads(
        reads.slot_of[thread],
        reads.row_of_slot[thread],
        reads.place_of[thread],
        reads.row_of_place[thread],
        reads.slot_of_place[thread],
        reads.change[thread],
        reads.drawn[thread],
        reads.current[thread],
        reads.score[thread],
        reads.move[thread],
        reads.gradient[thread],
        reads.marked[thread],
    )


@compiled(fastmath={"reassoc", "contract"})
def dot(left, right):
    """Inner product, summed in the fastest order."""
    total = f32(0.0)
    for place in range(len(left)):
        total += left[place] * right[place]
    return total


# The lists are built without branches, of which the processor would mispredict one in three.
@compiled()
def list_items(size, candidates, listed, items):
    """Number the different items of a chunk, and replace the items in `candidates` by their places.

    listed: number of items in the step's earlier chunks. Returns the number including this chunk.
    """
    place_of, item_of_place = items.place_of, items.row_of_place
    for example in range(size):
        for column in range(candidates.shape[1]):
            item = candidates[example, column]
            place = place_of[item]
            new = (place >= listed) | (item_of_place[place] != item)
            place = u32(listed) if new else place
            place_of[item] = place
            item_of_place[place] = item
            candidates[example, column] = place
            listed += int(new)
    return listed


@compiled()
def list_rows(offsets, members, known, num_items, listed, items, rows, example):
    """Number the different rows of the items at places known … num_items − 1, and fill example.bag_places.

    listed: number of rows in the step's earlier chunks. Returns the number including this chunk.
    """
    place_of, row_of_place, item_of_place = rows.place_of, rows.row_of_place, items.row_of_place
    bag_starts, bag_places = example.bag_starts, example.bag_places
    filled = bag_starts[known]
    for each in range(known, num_items):
        number = u32(each)
        item = item_of_place[number]
        for member in range(offsets[item], offsets[item + 1]):
            row = members[member]
            place = place_of[row]
            new = (place >= listed) | (row_of_place[place] != row)
            place = u32(listed) if new else place
            place_of[row] = place
            row_of_place[place] = row
            bag_places[filled] = place
            filled += 1
            listed += int(new)
        bag_starts[number + u32(1)] = filled
    return listed


@compiled()
def find_slots(known, in_step, in_device, reads):
    """Assign device slots to the rows or items that the step reads at places known … in_step − 1.

    in_device: number of slots before. Returns the number of slots after.
    """
    slot_of, row_of_slot = reads.slot_of, reads.row_of_slot
    row_of_place, slot_of_place = reads.row_of_place, reads.slot_of_place
    for each in range(known, in_step):
        place = u32(each)
        row = row_of_place[place]
        slot = slot_of[row]
        new = (slot >= in_device) | (row_of_slot[slot] != row)
        slot = u32(in_device) if new else slot
        slot_of[row] = slot
        row_of_slot[slot] = row
        slot_of_place[place] = slot
        in_device += int(new)
    return in_device


@compiled()
def begin(flat, first, last, deviation, key, device, query, step, used, draws):
    """Initialise D of newly read slots, flat[first:last], with the noise of the earlier steps, or with zeros.

    used: number of the ready normals that are used already. Returns the number after this call.
    """
    normals, cursor = draws.normals, draws.cursor
    if deviation == 0:
        flat[first:last] = 0.0
        return used
    while first < last:
        if used == cursor[0]:
            draw_normals(key, device, query, step, min(last - first, READY), draws)
            used = 0
        count = min(last - first, cursor[0] - used)
        into, ready = flat[first : first + count], normals[used : used + count]
        for place in range(count):  # slices, because a computed index could count from the end
            into[place] = deviation * ready[place]
        first += count
        used += count
    return used


@compiled()
def read_rows(table, vector, key, device, query, step, noise, known, read, used, rows, draws):
    """Add the noise that is due to D of a chunk's rows, and compute θ + D and x · (θ + D).

    noise: ησC, the standard deviation of the noise that a step adds to each coordinate. known: number of rows
    that the step and the device had read before; read: these numbers including the chunk. used: number of the
    ready normals that are used already. Returns the number after this call.
    """
    change, drawn, current, projection = rows.change, rows.drawn, rows.current, rows.score
    row_of_place, slot_of_place = rows.row_of_place, rows.slot_of_place
    normals, cursor = draws.normals, draws.cursor
    dim, (listed, slots), (last, last_slot) = len(vector), known, read
    flat, deviation = change.reshape(-1), noise * np.sqrt(step)
    used = begin(flat, slots * dim, last_slot * dim, deviation, key, device, query, step, used, draws)
    drawn[slots:last_slot] = step
    for number in range(listed, last):
        place = u32(number)
        slot = slot_of_place[place]
        due = step - drawn[slot]
        if due > 0 and noise > 0:
            if cursor[0] - used < dim:
                draw_normals(key, device, query, step, dim, draws)
                used = 0
            scale = noise * np.sqrt(due)
            for each in range(dim):
                change[slot, each] += scale * normals[used + each]
            used += dim
            drawn[slot] = step
    for number in range(listed, last):
        place = u32(number)
        row, slot = row_of_place[place], slot_of_place[place]
        for each in range(dim):
            current[place, each] = f32(table[row, each] + change[slot, each])
        projection[place] = dot(vector, current[place])
    return used


@compiled()
def read_biases(bias, key, device, query, step, noise, known, read, used, items, draws):
    """Add the noise that is due to D of a chunk's biases, and compute θ + D; see `read_rows`."""
    change, drawn, current = items.change, items.drawn, items.current
    item_of_place, slot_of_place = items.row_of_place, items.slot_of_place
    normals, cursor = draws.normals, draws.cursor
    (listed, slots), (last, last_slot) = known, read
    deviation = noise * np.sqrt(step)
    used = begin(change, slots, last_slot, deviation, key, device, query, step, used, draws)
    drawn[slots:last_slot] = step
    for number in range(listed, last):
        place = u32(number)
        item, slot = item_of_place[place], slot_of_place[place]
        due = step - drawn[slot]
        if due > 0 and noise > 0:
            if used == cursor[0]:
                draw_normals(key, device, query, step, min(last - place, READY), draws)
                used = 0
            change[slot] += noise * np.sqrt(due) * normals[used]
            used += 1
            drawn[slot] = step
        current[place] = f32(bias[item] + change[slot])
    return used
