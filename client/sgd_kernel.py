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
import numpy.typing as npt
from numba import njit, prange

from client.compiled_streams import (
    LANES,
    NORMALS,
    UNIFORMS,
    WORDS,
    fill_normals,
    fill_uniforms,
    fill_words,
)
from client.events import Events
from models.randomness import Purpose

Array = npt.NDArray[Any]

f32 = np.float32

BATCH = int(Purpose.BATCH)
NEGATIVES = int(Purpose.NEGATIVES)
LAZY_NOISE = int(Purpose.LAZY_NOISE)

UNIFORMS_OF_BLOCK = WORDS // 2
READY = 1024  # normals drawn ahead, at most
OPACUS_MARGIN = 1e-6  # that Opacus adds to a norm before it divides by it


class Bags(NamedTuple):
    """Shared parameters. table: float32 [rows, dim]; bias: float32 [items], or [0] where there is none.

    The bag of item i is rows[offsets[i] : offsets[i + 1]]; offsets: int64 [items + 1], rows: int32.
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


class Touched(NamedTuple):
    """Of the rows of the table, or of the biases: what one device does to them. [n] each."""

    change: Array  # D: float64 [rows, dim], or [items]
    move: Array  # clipped gradient of a step, as a number: float64
    drawn: Array  # steps whose noise is in D; −1 where nothing was read yet: int64
    read: Array  # last step that read it: int64
    of_device: Array  # what was ever read: int32
    of_step: Array  # what a step reads: int32
    example: Array  # gradient of an interaction, as a number: float32
    marked: Array  # the interaction that last wrote there: int64


class Example(NamedTuple):
    """Of one step and of one interaction."""

    current: Array  # θ + D as the step reads it: float32 [rows, dim]
    projection: Array  # x · current: float32 [rows]
    rows: Array  # rows of the interaction: int32 [rows]
    biases: Array  # its different items: int32 [items]
    vector: Array  # gradient in x: float32 [dim]
    vector_move: Array  # clipped, added up over the batch: float64 [dim]
    seen: Array  # number of the interaction: int64 [1]


class Draws(NamedTuple):
    """Room for a step's draws."""

    batch: Array  # events: int64 [longest history]
    candidates: Array  # items: int32 [longest history, 1 + negatives]
    words: Array  # uint32 [WORDS, LANES]
    uniforms: Array  # float64 [UNIFORMS]
    scratch: Array  # float32 [3, NORMALS / 2]
    normals: Array  # float32 [max(READY, dim) + NORMALS]
    cursor: Array  # of the step's noise, int64 [2]: normals that are ready, and blocks they came from


@njit(cache=True)
def touched(size, shape):
    """Nothing, yet."""
    return Touched(
        np.empty(shape, np.float64),
        np.zeros(size, np.float64),
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.float32),
        np.zeros(size, np.int64),
    )


@njit(cache=True, fastmath={"reassoc", "contract"})
def dot(left, right):
    """Inner product, in whichever order is fastest."""
    total = f32(0.0)
    for place in range(len(left)):
        total += left[place] * right[place]
    return total


@njit(cache=True, fastmath={"reassoc", "contract"})
def squared(numbers):
    """Sum of squares in double precision, where those of single-precision numbers stay above 0."""
    total = 0.0
    for place in range(len(numbers)):
        total += np.float64(numbers[place]) * np.float64(numbers[place])
    return total


@njit(cache=True)
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


@njit(cache=True)
def draw_candidates(key, device, question, step, size, items, catalogue, draws):
    """The batch's items, and negatives from the whole catalogue beside each, into draws.candidates."""
    batch, candidates, words, uniforms = draws.batch, draws.candidates, draws.words, draws.uniforms
    negatives = candidates.shape[1] - 1
    for example in range(size):
        candidates[example, 0] = items[batch[example]]
    example, column = 0, 1
    for start in range(0, size * negatives, UNIFORMS):
        fill_words(key, device, question, step, NEGATIVES, start // UNIFORMS_OF_BLOCK, words)
        fill_uniforms(words, uniforms)
        for place in range(min(UNIFORMS, size * negatives - start)):
            candidates[example, column] = np.int32(uniforms[place] * catalogue)
            column += 1
            if column > negatives:
                example, column = example + 1, 1


@njit(cache=True)
def draw_normals(key, device, question, step, count, used, draws):
    """Move on in the step's noise until `count` unused draws stand at the start of draws.normals.

    used: how many are used up. Who calls keeps count of that, and asks for many: a call for each row would
    cost more than its noise.
    """
    normals, cursor = draws.normals, draws.cursor
    drawn = cursor[0] - used
    for place in range(drawn):
        normals[place] = normals[used + place]
    while drawn < count:
        fill_words(key, device, question, step, LAZY_NOISE, cursor[1], draws.words)
        fill_normals(draws.words, draws.scratch, normals[drawn : drawn + NORMALS])
        drawn += NORMALS
        cursor[1] += LANES
    cursor[0] = drawn


@njit(cache=True)
def list_reads(bags, step, size, candidates, rows, biases):
    """The rows and the biases that a step reads, each once, into of_step; gives their numbers."""
    offsets, bag_rows, has_bias = bags.offsets, bags.rows, len(bags.bias) > 0
    row_read, rows_of_step, bias_read, biases_of_step = rows.read, rows.of_step, biases.read, biases.of_step
    num_rows = num_biases = 0
    for example in range(size):
        for column in range(candidates.shape[1]):
            item = candidates[example, column]
            for place in range(offsets[item], offsets[item + 1]):
                row = bag_rows[place]
                if row_read[row] != step:
                    row_read[row] = step
                    rows_of_step[num_rows] = row
                    num_rows += 1
            if has_bias and bias_read[item] != step:
                bias_read[item] = step
                biases_of_step[num_biases] = item
                num_biases += 1
    return num_rows, num_biases


@njit(cache=True)
def read_rows(table, vector, key, device, question, step, noise, num_rows, device_rows, rows, example, draws):
    """θ + D of the step's rows, with the noise that is due.

    Gives how many rows the device has read by now, and how many of the normals that are ready it has used.
    """
    change, drawn, of_device, of_step = rows.change, rows.drawn, rows.of_device, rows.of_step
    current, projection = example.current, example.projection
    normals, cursor = draws.normals, draws.cursor
    dim = len(vector)
    used = 0
    for place in range(num_rows):
        row = of_step[place]
        if drawn[row] < 0:
            drawn[row] = 0
            of_device[device_rows] = row
            device_rows += 1
            for each in range(dim):
                change[row, each] = 0.0
        due = step - drawn[row]
        if due > 0 and noise > 0:
            if cursor[0] - used < dim:
                most = min((num_rows - place) * dim, max(READY, dim))
                draw_normals(key, device, question, step, most, used, draws)
                used = 0
            scale = noise * np.sqrt(due)
            for each in range(dim):
                change[row, each] += scale * normals[used + each]
            used += dim
            drawn[row] = step
        for each in range(dim):
            current[row, each] = f32(table[row, each] + change[row, each])
        projection[row] = dot(vector, current[row])
    return device_rows, used


@njit(cache=True)
def read_biases(key, device, question, step, noise, num_biases, device_biases, used, biases, draws):
    """D of the step's biases, with the noise that is due; gives what `read_rows` does."""
    change, drawn, of_device, of_step = biases.change, biases.drawn, biases.of_device, biases.of_step
    normals, cursor = draws.normals, draws.cursor
    for place in range(num_biases):
        item = of_step[place]
        if drawn[item] < 0:
            drawn[item] = 0
            of_device[device_biases] = item
            device_biases += 1
            change[item] = 0.0
        due = step - drawn[item]
        if due > 0 and noise > 0:
            if used == cursor[0]:
                draw_normals(key, device, question, step, min(num_biases - place, READY), used, draws)
                used = 0
            change[item] += noise * np.sqrt(due) * normals[used]
            used += 1
            drawn[item] = step
    return device_biases, used


@njit(cache=True, error_model="numpy")
def add_gradients(bags, schedule, vector, weights, size, candidates, batch, rows, biases, example):
    """The clipped gradients of a batch, added up into rows.move, biases.move and example.vector_move."""
    offsets, bag_rows, bias, has_bias = bags.offsets, bags.rows, bags.bias, len(bags.bias) > 0
    row_move, example_row, marked = rows.move, rows.example, rows.marked
    bias_change, bias_move, example_bias, bias_marked = (
        biases.change,
        biases.move,
        biases.example,
        biases.marked,
    )
    current, projection = example.current, example.projection
    rows_of_example, biases_of_example = example.rows, example.biases
    example_vector, vector_move, seen = example.vector, example.vector_move, example.seen
    columns, dim = candidates.shape[1], len(vector)
    negative_gradient = f32(2.0 * schedule.negative_weight / schedule.negatives)
    clip = schedule.example_clip
    clips = np.isfinite(clip)
    vector_square = squared(vector)
    for number in range(size):
        seen[0] += 1
        mark = seen[0]
        num_rows = num_biases = 0
        row_square = bias_square = 0.0
        for column in range(columns):
            item = candidates[number, column]
            score = f32(bias[item] + bias_change[item]) if has_bias else f32(0.0)
            for place in range(offsets[item], offsets[item + 1]):
                score += projection[bag_rows[place]]
            if column == 0:
                gradient = f32(2.0) * weights[batch[number]] * (score - f32(1.0))
            else:
                gradient = negative_gradient * score
            # A row, or a bias, that comes twice in an interaction is one coordinate of its gradient.
            for place in range(offsets[item], offsets[item + 1]):
                row = bag_rows[place]
                if marked[row] != mark:
                    marked[row] = mark
                    example_row[row] = gradient
                    rows_of_example[num_rows] = row
                    num_rows += 1
                else:
                    example_row[row] += gradient
            if has_bias:
                if bias_marked[item] != mark:
                    bias_marked[item] = mark
                    example_bias[item] = gradient
                    biases_of_example[num_biases] = item
                    num_biases += 1
                else:
                    example_bias[item] += gradient
        for each in range(dim):
            example_vector[each] = f32(0.0)
        for place in range(num_rows):
            row = rows_of_example[place]
            gradient = example_row[row]
            row_square += np.float64(gradient) * np.float64(gradient)
            for each in range(dim):
                example_vector[each] += gradient * current[row, each]
        for place in range(num_biases):
            bias_square += np.float64(example_bias[biases_of_example[place]]) ** 2
        factor = 1.0
        if clips:
            square = vector_square * row_square + squared(example_vector) + bias_square
            if not np.isfinite(square):
                continue  # it adds nothing: 0 times it would be no number
            factor = min(1.0, clip / (np.sqrt(square) + OPACUS_MARGIN))
        for place in range(num_rows):
            row = rows_of_example[place]
            row_move[row] += factor * example_row[row]
        for place in range(num_biases):
            item = biases_of_example[place]
            bias_move[item] += factor * example_bias[item]
        for each in range(dim):
            vector_move[each] += factor * example_vector[each]


@njit(cache=True)
def train_device(bags, schedule, key, question, device, items, weights, vector, rows, biases, example, draws):
    """All steps of one device, from its `vector` [dim] on: how many rows and biases it has read."""
    catalogue = len(bags.offsets) - 1
    learning_rate = schedule.learning_rate
    noise = schedule.learning_rate * schedule.deviation
    dim = len(vector)
    row_change, row_move, rows_of_step = rows.change, rows.move, rows.of_step
    bias_change, bias_move, biases_of_step = biases.change, biases.move, biases.of_step
    vector_move, candidates, batch, normals = (
        example.vector_move,
        draws.candidates,
        draws.batch,
        draws.normals,
    )
    device_rows = device_biases = 0
    for step in range(schedule.steps):
        draws.cursor[:] = 0
        size = draw_batch(key, device, question, step, schedule.sampling_rate, len(items), draws)
        draw_candidates(key, device, question, step, size, items, catalogue, draws)
        num_rows, num_biases = list_reads(bags, step, size, candidates, rows, biases)
        device_rows, used = read_rows(
            bags.table,
            vector,
            key,
            device,
            question,
            step,
            noise,
            num_rows,
            device_rows,
            rows,
            example,
            draws,
        )
        device_biases, used = read_biases(
            key, device, question, step, noise, num_biases, device_biases, used, biases, draws
        )
        vector_move[:] = 0.0
        add_gradients(bags, schedule, vector, weights, size, candidates, batch, rows, biases, example)
        for place in range(num_rows):
            row = rows_of_step[place]
            move = learning_rate * row_move[row]
            row_move[row] = 0.0
            if move != 0:  # 0 times a vector that has diverged would be no number
                for each in range(dim):
                    row_change[row, each] -= move * vector[each]
        for place in range(num_biases):
            item = biases_of_step[place]
            bias_change[item] -= learning_rate * bias_move[item]
            bias_move[item] = 0.0
        if noise > 0:
            if draws.cursor[0] - used < dim:
                draw_normals(key, device, question, step, dim, used, draws)
                used = 0
            for each in range(dim):
                vector_move[each] -= schedule.deviation * normals[used + each]
        for each in range(dim):
            vector[each] = f32(vector[each] - learning_rate * vector_move[each])
    return device_rows, device_biases


@njit(cache=True)
def squared_norm(device_rows, device_biases, rows, biases):
    """Of a device's whole update, in double precision."""
    row_change, rows_of_device = rows.change, rows.of_device
    bias_change, biases_of_device = biases.change, biases.of_device
    total = 0.0
    for place in range(device_rows):
        row = rows_of_device[place]
        for each in range(row_change.shape[1]):
            total += row_change[row, each] ** 2
    for place in range(device_biases):
        total += bias_change[biases_of_device[place]] ** 2
    return total


@njit(cache=True)
def add_update(device_rows, device_biases, scale, rows, biases, table, bias, rows_drawn, biases_drawn):
    """Add scale times the device's update to the sums, in whole numbers, and leave the room clean.

    Whole numbers below 2⁵³ add up exactly in double precision, in any order.
    """
    change, of_device, drawn, read = rows.change, rows.of_device, rows.drawn, rows.read
    for place in range(device_rows):
        row = of_device[place]
        if scale > 0:
            for each in range(table.shape[1]):
                table[row, each] += np.rint(change[row, each] * scale)
        rows_drawn[row] += drawn[row]
        drawn[row] = read[row] = -1
    bias_change, of_device, drawn, read = biases.change, biases.of_device, biases.drawn, biases.read
    for place in range(device_biases):
        item = of_device[place]
        if scale > 0:
            bias[item] += np.rint(bias_change[item] * scale)
        biases_drawn[item] += drawn[item]
        drawn[item] = read[item] = -1


@njit(cache=True, parallel=True)
def train_devices(bags, schedule, key, question, histories, vectors, edges, longest):
    """Train devices edges[k] … edges[k + 1] − 1 on thread k, from and into vectors [n, dim].

    Gives the sums of their updates in units, float64 [rows, dim] and [items]; how many steps' noise is drawn
    in them already, int64 [rows] and [items]; and how many updates were below and above the device's clip.
    """
    threads = len(edges) - 1
    num_rows, dim = bags.table.shape
    num_biases = len(bags.bias)
    tables = np.zeros((threads, num_rows, dim))
    all_biases = np.zeros((threads, num_biases))
    rows_drawn = np.zeros((threads, num_rows), np.int64)
    biases_drawn = np.zeros((threads, num_biases), np.int64)
    clipped = np.zeros((threads, 2), np.int64)
    clips = np.isfinite(schedule.device_clip)
    for thread in prange(threads):
        rows, biases = touched(num_rows, (num_rows, dim)), touched(num_biases, num_biases)
        example = Example(
            np.empty((num_rows, dim), np.float32),
            np.empty(num_rows, np.float32),
            np.empty(num_rows, np.int32),
            np.empty(num_biases, np.int32),
            np.empty(dim, np.float32),
            np.empty(dim, np.float64),
            np.zeros(1, np.int64),
        )
        draws = Draws(
            np.empty(longest + 1, np.int64),  # one more: a coin is written before it is known to fall
            np.empty((longest, 1 + schedule.negatives), np.int32),
            np.empty((WORDS, LANES), np.uint32),
            np.empty(UNIFORMS, np.float64),
            np.empty((3, NORMALS // 2), np.float32),
            np.empty(max(READY, dim) + NORMALS, np.float32),
            np.zeros(2, np.int64),
        )
        for place in range(edges[thread], edges[thread + 1]):
            start, stop = histories.offsets[place], histories.offsets[place + 1]
            device_rows, device_biases = train_device(
                bags,
                schedule,
                key,
                question,
                histories.devices[place],
                histories.items[start:stop],
                histories.weights[start:stop],
                vectors[place],
                rows,
                biases,
                example,
                draws,
            )
            factor = 1.0
            if clips:
                square = squared_norm(device_rows, device_biases, rows, biases)
                if not np.isfinite(square):
                    factor = 0.0  # one that diverged adds nothing
                elif square > 0:
                    factor = min(1.0, schedule.device_clip / np.sqrt(square))
                if square != 0:  # one that holds nothing is on neither side of the clip
                    clipped[thread, 0 if factor == 1.0 else 1] += 1
            add_update(
                device_rows,
                device_biases,
                factor / schedule.unit,
                rows,
                biases,
                tables[thread],
                all_biases[thread],
                rows_drawn[thread],
                biases_drawn[thread],
            )
    return (
        tables.sum(axis=0),
        all_biases.sum(axis=0),
        rows_drawn.sum(axis=0),
        biases_drawn.sum(axis=0),
        clipped.sum(axis=0),
    )
