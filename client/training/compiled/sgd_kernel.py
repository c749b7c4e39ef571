"""SGD and DP-SGD on a bag of rows, for many devices in one compiled loop.

What makes it fast is what the model gives. The gradient of an interaction in a row r of the table is a_r·x, a
number times the shopper's vector: so a clipped batch moves row r by one number times x, and the norm of an
interaction's gradient is found without spelling it out,

    |x|² Σ_r a_r² + |Σ_r a_r (θ_r + D_r)|² + Σ_i b_i²

(rows, the shopper's own vector, biases). A device holds D_r, what its steps have added to row r, for the
rows that it reads and no others. D is kept apart from the public θ: rounded into θ + D, a step could change
by more than the clip where a server sends an enormous θ. Norms, clipped sums and D are in double precision,
and the vector's step is rounded with its noise in it: no rounding stands between the clip and the noise.

Noise of a row is drawn when a later step of the device reads it, then all that is due at once: a sum of
independent Gaussians is a Gaussian. What no step ever reads is not drawn here but counted, for whoever
releases the sum to add. So each coordinate has the noise of every step, and the joint distribution of
everything read or released is that of DP-SGD device by device (Abadi et al. 2016, algorithm 1).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from terrycloth.client.events import Events
from terrycloth.client.training.compiled.compile import Array, compiled
from terrycloth.client.training.compiled.sgd_draws import (
    Draws,
    draw_batch,
    draw_candidates,
    draw_normals,
    draws_of,
    room_for_draws,
)
from terrycloth.client.training.compiled.sgd_reads import (
    Reads,
    find_slots,
    list_items,
    list_rows,
    no_reads,
    read_biases,
    read_rows,
    reads_of,
)
from terrycloth.client.training.compiled.threads import APART

f32 = np.float32
u32 = np.uint32
i64: Any = np.int64  # numba reads it as the type, and mypy as none in particular

OPACUS_MARGIN = 1e-6  # that Opacus adds to a norm before it divides by it


class Bags(NamedTuple):
    """Shared parameters. table: float32 [rows, dim]; bias: float32 [items], or [0] where there is none.

    The bag of item i is rows[offsets[i] : offsets[i + 1]]; offsets: int64 [items + 1], rows: uint32.
    """

    table: Array
    bias: Array
    offsets: Array
    rows: Array


class Histories(NamedTuple):
    """devices: int64 [n]; offsets: int64 [n + 1]; items: int32 [events]; weights: float32 [events]."""

    devices: Array
    offsets: Array
    items: Array
    weights: Array


def histories_of(devices: Array, events: Events) -> Histories:
    """Interactions of devices int64 [n] as compiled loops read them: one of weight w counts log₂(1 + w)."""
    return Histories(
        np.asarray(devices, dtype=np.int64),
        np.asarray(events.offsets, dtype=np.int64),
        np.ascontiguousarray(events.items, dtype=np.int32),
        np.log2(1.0 + events.weights).astype(np.float32),
    )


class Schedule(NamedTuple):
    """What is the same on every device.

    example_clip: of an interaction's gradient; device_clip: of a device's whole update; infinite for none.
    deviation: of the noise in each coordinate of a step's gradient. unit: updates are added up as whole
    multiples of it, so that the sum does not depend on who is added first.
    """

    steps: int
    sampling_rate: float
    negatives: int
    negative_weight: float
    learning_rate: float
    example_clip: float
    device_clip: float
    deviation: float
    unit: float


class Example(NamedTuple):
    """Of one step and of one interaction."""

    bag_starts: Array  # of an item's bag in bag_places, by its place: int64 [items + 1]
    bag_places: Array  # places of its rows: uint32 [members of all bags]
    rows: Array  # places of the interaction's rows: uint32 [rows]
    items: Array  # and of its different items: uint32 [items]
    vector: Array  # gradient in x: float32 [dim, and APART]
    vector_move: Array  # clipped, added up over the batch: float64 [dim, and APART]
    seen: Array  # number of the interaction: int64 [1, and APART]


class Sums(NamedTuple):
    """Of updates, in units: table, float64 [rows, dim], and bias, float64 [items].

    rows_drawn, biases_drawn: how many steps' noise is drawn in them already, int64 [rows] and [items].
    clipped: how many updates were below the device's clip and above it, int64 [2, and APART].
    """

    table: Array
    bias: Array
    rows_drawn: Array
    biases_drawn: Array
    clipped: Array


def room_for(threads, bags, negatives, longest) -> tuple[Reads, Reads, Example, Draws, Sums]:
    """What each thread works in and adds up [threads, …], for histories of at most so many events.

    All of it but Draws.batch is of a size that public numbers fix.
    """
    num_rows, dim = bags.table.shape
    num_items, num_biases = len(bags.offsets) - 1, len(bags.bias)
    return (
        no_reads(threads, num_rows, dim),
        no_reads(threads, num_items),
        Example(
            np.zeros((threads, num_items + 1), np.int64),
            np.empty((threads, len(bags.rows)), np.uint32),
            np.empty((threads, num_rows), np.uint32),
            np.empty((threads, num_items), np.uint32),
            np.empty((threads, dim + APART), np.float32),
            np.empty((threads, dim + APART), np.float64),
            np.zeros((threads, 1 + APART), np.int64),
        ),
        room_for_draws(threads, longest, negatives, dim),
        Sums(
            np.zeros((threads, num_rows, dim)),
            np.zeros((threads, num_biases)),
            np.zeros((threads, num_rows), np.int64),
            np.zeros((threads, num_biases), np.int64),
            np.zeros((threads, 2 + APART), np.int64),
        ),
    )


@compiled()
def example_of(examples, thread):
    """The part of the examples' room that is a thread's."""
    return Example(
        examples.bag_starts[thread],
        examples.bag_places[thread],
        examples.rows[thread],
        examples.items[thread],
        examples.vector[thread],
        examples.vector_move[thread],
        examples.seen[thread],
    )


@compiled(fastmath={"reassoc", "contract"})
def squared(numbers):
    """Sum of squares in double precision, where those of single-precision numbers stay above 0."""
    total = 0.0
    for place in range(len(numbers)):
        total += np.float64(numbers[place]) * np.float64(numbers[place])
    return total


@compiled()
def score_items(known, num_items, has_bias, rows, items, example):
    """The scores of the items at places known … num_items − 1, from their rows' and their biases."""
    projection, score, bias = rows.score, items.score, items.current
    bag_starts, bag_places = example.bag_starts, example.bag_places
    for number in range(known, num_items):
        place = u32(number)
        total = bias[place] if has_bias else f32(0.0)
        for member in range(bag_starts[place], bag_starts[place + 1]):
            total += projection[bag_places[member]]
        score[place] = total


@compiled(error_model="numpy")
def add_gradients(schedule, vector, weights, size, candidates, batch, has_bias, rows, items, example):
    """The clipped gradients of a chunk, added up into rows.move, items.move and example.vector_move."""
    row_move, row_gradient, row_marked, current = rows.move, rows.gradient, rows.marked, rows.current
    item_move, item_gradient, item_marked, scores = items.move, items.gradient, items.marked, items.score
    bag_starts, bag_places = example.bag_starts, example.bag_places
    rows_of_example, items_of_example = example.rows, example.items
    example_vector, vector_move, seen = example.vector, example.vector_move, example.seen
    dim = len(vector)
    negative_gradient = f32(2.0 * schedule.negative_weight / schedule.negatives)
    clip = schedule.example_clip
    clips = np.isfinite(clip)
    vector_square = squared(vector)
    for number in range(size):
        seen[0] += 1
        mark = seen[0]
        num_rows = num_items = 0
        row_square = item_square = 0.0
        # An item, or a row, that comes twice in an interaction is one coordinate of its gradient.
        for column in range(candidates.shape[1]):
            item = candidates[number, column]
            score = scores[item]
            if column == 0:
                gradient = f32(2.0) * weights[batch[number]] * (score - f32(1.0))
            else:
                gradient = negative_gradient * score
            if item_marked[item] != mark:
                item_marked[item] = mark
                item_gradient[item] = gradient
                items_of_example[num_items] = item
                num_items += 1
            else:
                item_gradient[item] += gradient
        for each in range(dim):
            example_vector[each] = f32(0.0)
        for listed in range(num_items):
            item = items_of_example[listed]
            gradient = item_gradient[item]
            if has_bias:
                item_square += np.float64(gradient) * np.float64(gradient)
            for member in range(bag_starts[item], bag_starts[item + 1]):
                row = bag_places[member]
                if row_marked[row] != mark:
                    row_marked[row] = mark
                    row_gradient[row] = gradient
                    rows_of_example[num_rows] = row
                    num_rows += 1
                else:
                    row_gradient[row] += gradient
                for each in range(dim):
                    example_vector[each] += gradient * current[row, each]
        factor = 1.0
        if clips:
            for listed in range(num_rows):
                gradient = row_gradient[rows_of_example[listed]]
                row_square += np.float64(gradient) * np.float64(gradient)
            square = vector_square * row_square + squared(example_vector[:dim]) + item_square
            if not np.isfinite(square):
                continue  # it adds nothing: 0 times it would be no number
            factor = min(1.0, clip / (np.sqrt(square) + OPACUS_MARGIN))
        for listed in range(num_rows):
            row = rows_of_example[listed]
            row_move[row] += factor * row_gradient[row]
        if has_bias:
            for listed in range(num_items):
                item = items_of_example[listed]
                item_move[item] += factor * item_gradient[item]
        for each in range(dim):
            vector_move[each] += factor * example_vector[each]


@compiled()
def train_device(bags, schedule, key, query, device, history, weights, vector, rows, items, example, draws):
    """All steps of one device; gives how many rows and biases it has read: its update is in their `change`.

    history: int32 [events], the items; weights: float32 [events]; vector: float32 [dim], moved in place.
    """
    catalogue, has_bias, dim = len(bags.offsets) - 1, len(bags.bias) > 0, len(vector)
    learning_rate = schedule.learning_rate
    noise = schedule.learning_rate * schedule.deviation
    row_change, row_move, slot_of_row = rows.change, rows.move, rows.slot_of_place
    bias_change, bias_move, slot_of_item = items.change, items.move, items.slot_of_place
    candidates, batch, normals = draws.candidates, draws.batch, draws.normals
    vector_move, chunk = example.vector_move, len(candidates)
    device_rows = device_biases = i64(0)  # a plain 0 is a type of its own: all would be compiled twice
    for step in range(schedule.steps):
        draws.cursor[:] = 0
        size = draw_batch(key, device, query, step, schedule.sampling_rate, len(history), draws)
        num_items = num_rows = used = i64(0)
        vector_move[:] = 0.0
        for start in range(0, size, chunk):  # D moves after the last chunk: all read it as the step found it
            part = min(chunk, size - start)
            draw_candidates(key, device, query, step, start, part, batch, history, catalogue, draws)
            listed, num_items = num_items, list_items(part, candidates, num_items, items)
            known = (num_rows, device_rows)
            num_rows = list_rows(bags.offsets, bags.rows, listed, num_items, num_rows, items, rows, example)
            device_rows = find_slots(known[0], num_rows, device_rows, rows)
            read = (num_rows, device_rows)
            used = read_rows(
                bags.table, vector, key, device, query, step, noise, known, read, used, rows, draws
            )
            if has_bias:
                known = (listed, device_biases)
                device_biases = find_slots(listed, num_items, device_biases, items)
                read = (num_items, device_biases)
                used = read_biases(
                    bags.bias, key, device, query, step, noise, known, read, used, items, draws
                )
            score_items(listed, num_items, has_bias, rows, items, example)
            of_part = batch[start : start + part]
            add_gradients(
                schedule, vector, weights, part, candidates, of_part, has_bias, rows, items, example
            )
        for place in range(num_rows):
            move = learning_rate * row_move[place]
            row_move[place] = 0.0
            if move != 0:  # 0 times a vector that has diverged would be no number
                slot = slot_of_row[place]
                for each in range(dim):
                    row_change[slot, each] -= move * vector[each]
        if has_bias:
            for place in range(num_items):
                bias_change[slot_of_item[place]] -= learning_rate * bias_move[place]
                bias_move[place] = 0.0
        if noise > 0:
            if draws.cursor[0] - used < dim:
                draw_normals(key, device, query, step, dim, draws)
                used = 0
            for each in range(dim):
                vector_move[each] -= schedule.deviation * normals[used + each]
        for each in range(dim):
            vector[each] = f32(vector[each] - learning_rate * vector_move[each])
    return device_rows, device_biases


@compiled()
def squared_norm(device_rows, device_biases, rows, items):
    """Of a device's whole update, in double precision."""
    row_change, bias_change = rows.change, items.change
    total = 0.0
    for slot in range(device_rows):
        total += squared(row_change[slot])
    return total + squared(bias_change[:device_biases])


@compiled()
def add_update(device_rows, device_biases, scale, rows, items, table, bias, rows_drawn, biases_drawn):
    """Add scale times the device's update to the sums, in whole numbers.

    Whole numbers below 2⁵³ add up exactly in double precision, in any order.
    """
    change, row_of_slot, drawn = rows.change, rows.row_of_slot, rows.drawn
    for slot in range(device_rows):
        row = row_of_slot[slot]
        if scale > 0:
            for each in range(table.shape[1]):
                table[row, each] += np.rint(change[slot, each] * scale)
        rows_drawn[row] += drawn[slot]
    bias_change, item_of_slot, drawn = items.change, items.row_of_slot, items.drawn
    for slot in range(device_biases):
        item = item_of_slot[slot]
        if scale > 0:
            bias[item] += np.rint(bias_change[slot] * scale)
        biases_drawn[item] += drawn[slot]


@compiled(parallel=True)
def train_devices(
    bags, schedule, key, query, histories, vectors, edges, all_rows, all_items, examples, all_draws, sums
):
    """Train devices edges[k] … edges[k + 1] − 1 on thread k, from and into vectors [n, dim].

    What comes after the edges is what `room_for` gives.
    """
    clips = np.isfinite(schedule.device_clip)
    for thread in prange(len(edges) - 1):
        own = i64(thread)  # which has two types where the loop is made parallel
        rows, items = reads_of(all_rows, own), reads_of(all_items, own)
        example, draws = example_of(examples, own), draws_of(all_draws, own)
        clipped = sums.clipped[thread]  # by itself: numba lost what was added to it as a part of `sums`
        for place in range(edges[thread], edges[thread + 1]):
            start, stop = histories.offsets[place], histories.offsets[place + 1]
            device_rows, device_biases = train_device(
                bags,
                schedule,
                key,
                query,
                histories.devices[place],
                histories.items[start:stop],
                histories.weights[start:stop],
                vectors[place],
                rows,
                items,
                example,
                draws,
            )
            factor = 1.0
            if clips:
                square = squared_norm(device_rows, device_biases, rows, items)
                if not np.isfinite(square):
                    factor = 0.0  # one that diverged adds nothing
                elif square > 0:
                    factor = min(1.0, schedule.device_clip / np.sqrt(square))
                if square != 0:  # one that holds nothing is on neither side of the clip
                    clipped[0 if factor == 1.0 else 1] += 1
            add_update(
                device_rows,
                device_biases,
                factor / schedule.unit,
                rows,
                items,
                sums.table[thread],
                sums.bias[thread],
                sums.rows_drawn[thread],
                sums.biases_drawn[thread],
            )
