"""SGD and DP-SGD on a bag of rows, for many devices in one compiled loop.

The structure of the model makes this fast. The gradient of an interaction in row r of the table is a_r·x, a
number times the shopper's vector. So a clipped batch moves row r by one number times x, and the squared norm
of an interaction's gradient can be computed without building the gradient:

    |x|² Σ_r a_r² + |Σ_r a_r (θ_r + D_r)|² + Σ_i b_i²

The terms are those of the rows, the shopper's own vector and the biases. A device holds D_r, what its steps
have added to row r, only for the rows that it reads. D is kept separate from the public θ: if D were rounded
into θ + D, a server that sends an enormous θ could make a step change by more than the clipping norm. Norms,
clipped sums and D are in double precision, and the vector's step is rounded only after its noise is added, so
nothing is rounded between clipping and noise.

The noise of a row is drawn when a later step of the device reads the row, for all steps that are due at once,
because a sum of independent Gaussians is a Gaussian. Noise that no step ever reads is not drawn here but
counted, and the release of the sum adds it. So each coordinate has the noise of every step, and the joint
distribution of everything read or released is that of DP-SGD device by device (Abadi et al. 2016, algorithm
1).
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
i64: Any = np.int64  # numba needs the type itself, and mypy must not check it

OPACUS_MARGIN = 1e-6  # Opacus adds this to a norm before it divides by the norm


class Bags(NamedTuple):
    """Shared parameters. table: float32 [rows, dim]. bias: float32 [items], or [0] without biases.

    The bag of item i is rows[offsets[i] : offsets[i + 1]]; offsets: int64 [items + 1], rows: uint32.
    """

    table: Array
    bias: Array
    offsets: Array
    rows: Array


class Histories(NamedTuple):
    """The events of n devices, as columns; device k has events offsets[k] : offsets[k + 1].

    devices: int64 [n]. offsets: int64 [n + 1]. items: int32 [events]. weights: float32 [events].
    """

    devices: Array
    offsets: Array
    items: Array
    weights: Array


def histories_of(devices: Array, events: Events) -> Histories:
    """Convert events of devices, int64 [n], for compiled loops; weight w becomes log₂(1 + w)."""
    return Histories(
        np.asarray(devices, dtype=np.int64),
        np.asarray(events.offsets, dtype=np.int64),
        np.ascontiguousarray(events.items, dtype=np.int32),
        np.log2(1.0 + events.weights).astype(np.float32),
    )


class Schedule(NamedTuple):
    """The settings of training, the same on every device.

    example_clip: clipping norm of an interaction's gradient, infinite for none. device_clip: clipping norm of
    a device's whole update, infinite for none. deviation: standard deviation of the noise in each coordinate
    of a step's gradient. unit: updates are added up as whole multiples of it, so that the sum does not depend
    on the order of the devices.
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
    """Buffers for one step and one interaction."""

    bag_starts: Array  # start of an item's bag in bag_places, by the item's place: int64 [items + 1]
    bag_places: Array  # places of the rows in each bag: uint32 [members of all bags]
    rows: Array  # places of the interaction's rows: uint32 [rows]
    items: Array  # places of the interaction's different items: uint32 [items]
    vector: Array  # the interaction's gradient in x: float32 [dim + APART]
    vector_move: Array  # clipped gradients in x, added up over the batch: float64 [dim + APART]
    seen: Array  # number of the interaction: int64 [1 + APART]


class Sums(NamedTuple):
    """Sums of updates, in units: table, float64 [rows, dim], and bias, float64 [items].

    rows_drawn, biases_drawn: for how many steps, over all devices, the noise is in the sums already, int64
    [rows] and [items]. clipped: how many updates were below and above the device's clip, int64 [2 + APART].
    """

    table: Array
    bias: Array
    rows_drawn: Array
    biases_drawn: Array
    clipped: Array


def room_for(threads, bags, negatives, longest) -> tuple[Reads, Reads, Example, Draws, Sums]:
    """Allocate each thread's buffers and sums, [threads, …]; `longest` is the length of the longest history.

    Public numbers determine all sizes except that of Draws.batch.
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
    """Return one thread's part of the `Example` that `room_for` allocates."""
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
    """Sum of squares in double precision, in which squares of tiny single-precision numbers stay above 0."""
    total = 0.0
    for place in range(len(numbers)):
        total += np.float64(numbers[place]) * np.float64(numbers[place])
    return total


@compiled()
def score_items(known, num_items, has_bias, rows, items, example):
    """Compute the scores of the items at places known … num_items − 1, from their rows and biases."""
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
    """Add the clipped gradients of a chunk to rows.move, items.move and example.vector_move."""
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
        # An item or row that occurs twice in an interaction is one coordinate of its gradient.
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
                continue  # it adds nothing; 0 times it would be NaN
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
    """Take all steps of one device; its update is then in rows.change and items.change.

    history: int32 [events], the items. weights: float32 [events]. vector: float32 [dim], updated in place.
    Returns how many rows and biases the device has read.
    """
    catalogue, has_bias, dim = len(bags.offsets) - 1, len(bags.bias) > 0, len(vector)
    learning_rate = schedule.learning_rate
    noise = schedule.learning_rate * schedule.deviation
    row_change, row_move, slot_of_row = rows.change, rows.move, rows.slot_of_place
    bias_change, bias_move, slot_of_item = items.change, items.move, items.slot_of_place
    candidates, batch, normals = draws.candidates, draws.batch, draws.normals
    vector_move, chunk = example.vector_move, len(candidates)
    device_rows = device_biases = i64(0)  # a plain 0 has another type, so everything would be compiled twice
    for step in range(schedule.steps):
        draws.cursor[:] = 0
        size = draw_batch(key, device, query, step, schedule.sampling_rate, len(history), draws)
        num_items = num_rows = used = i64(0)
        vector_move[:] = 0.0
        # D changes only after the last chunk, so that all chunks read the same D.
        for start in range(0, size, chunk):
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
            if move != 0:  # 0 times a vector that has diverged would be NaN
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
    """Squared norm of a device's whole update, in double precision."""
    row_change, bias_change = rows.change, items.change
    total = 0.0
    for slot in range(device_rows):
        total += squared(row_change[slot])
    return total + squared(bias_change[:device_biases])


@compiled()
def add_update(device_rows, device_biases, scale, rows, items, table, bias, rows_drawn, biases_drawn):
    """Add scale times the device's update to the sums, rounded to whole numbers.

    Double precision adds whole numbers below 2⁵³ exactly, in any order.
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
    """Train devices edges[k] … edges[k + 1] − 1 on thread k; vectors [n, dim] are updated in place.

    The arguments after `edges` are the buffers and sums that `room_for` allocates.
    """
    clips = np.isfinite(schedule.device_clip)
    for thread in prange(len(edges) - 1):
        own = i64(thread)  # which has two types when the loop is made parallel
        rows, items = reads_of(all_rows, own), reads_of(all_items, own)
        example, draws = example_of(examples, own), draws_of(all_draws, own)
        clipped = sums.clipped[thread]  # a separate name, because numba lost additions to `sums.clipped`
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
                    factor = 0.0  # an update that diverged adds nothing
                elif square > 0:
                    factor = min(1.0, schedule.device_clip / np.sqrt(square))
                if square != 0:  # a device without events counts on neither side of the clip
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
