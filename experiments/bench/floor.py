"""The floor of a cohort's round: its arithmetic and its random numbers alone, at this machine's own speed.

Arithmetic, in operations on single-precision numbers, with d the dimension; one step of one device has b
interactions of 1 + n candidates each, which are R different rows of the table, A of them read by an earlier
step (so that the noise of that step is due):

    scores                                     2 d R
    gradients in the shopper's vector          2 d b (1 + n)
    their norms, and their clipped sum         4 d b
    moves of the rows                          2 d R
    noise added to rows                        2 d A
    and once a device, rows added to the sum   d · (different rows of all steps)

Random numbers: a uniform for each event's coin and each negative; under a promise at interaction level a
normal for each coordinate of the shopper's vector and of the A rows and biases, and at the end one for each
coordinate of the sum. R and A are counted on the first devices, from the very draws that their streams give.

As a contender it does so many and nothing else, on all cores, and is measured in turn with the cohort:
y ← y + a·x in a compiled loop on numbers in the first-level cache (two operations an element), and draws in
bulk from client/training/compiled/compiled_streams.py. It leaves out whatever finds, moves or remembers
anything, so nothing can reach it.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numba import prange

from terrycloth.client.training.compiled.compile import compiled
from terrycloth.client.training.compiled.compiled_streams import (
    LANES,
    NORMALS,
    UNIFORMS,
    WORDS,
    fill_normals,
    fill_uniforms,
    fill_words,
    key_words,
)
from terrycloth.experiments.bench.workload import Workload
from terrycloth.models.privacy.randomness import Purpose

COUNTED = 64  # devices whose rows are counted
IN_CACHE = 2048  # numbers of each of two arrays: 16 KiB together


@dataclass(frozen=True)
class Work:
    """What a round cannot do without."""

    operations: float
    uniforms: float
    normals: float

    def passes(self, threads: int) -> tuple[int, int, int]:
        """Of each kind on each thread: IN_CACHE additions, UNIFORMS and NORMALS at a time."""
        return (
            math.ceil(self.operations / (2 * IN_CACHE * threads)),
            math.ceil(self.uniforms / (UNIFORMS * threads)),
            math.ceil(self.normals / (NORMALS * threads)),
        )


class Floor:
    """A contender: the work of a cohort's round, without the round."""

    def __init__(self, name: str, devices: int, work: Work) -> None:
        self.name = name
        self.devices = devices
        self.work = work

    def start(self) -> None:
        """There is nothing to start."""

    def round(self) -> None:
        """On as many threads as the cohort has."""
        threads = numba.get_num_threads()
        work_alone(
            key_words(bytes(32)),
            self.work.passes(threads),
            np.ones((threads, 2, IN_CACHE), np.float32),
            np.empty((threads, WORDS, LANES), np.uint32),
            np.empty((threads, UNIFORMS)),
            np.empty((threads, NORMALS), np.float32),
        )

    def stop(self) -> None:
        """There is nothing to stop."""


def count_work(workload: Workload) -> Work:
    """Of one round, from the draws of its first devices."""
    settings, cohort, dim = workload.settings, workload.cohort, workload.settings.dim
    counted = min(COUNTED, workload.devices)
    noise = settings.unit == "interaction" and settings.noise > 0
    operations, uniforms, normals = 0, 0, 0
    for place in range(counted):
        items = cohort.events.span(place, place + 1).items
        device, read = int(cohort.devices[place]), np.empty(0, dtype=np.int64)
        for step in range(settings.steps_per_round):
            coins = cohort.stream(device, step, Purpose.BATCH).uniforms(len(items))
            batch = items[coins < settings.sampling_rate]
            negatives = cohort.stream(device, step, Purpose.NEGATIVES).integers(
                len(batch) * settings.negatives, workload.num_items
            )
            rows = np.unique(np.concatenate([batch, negatives]))
            due = len(rows) if noise and step > 0 else 0  # of each row, the noise of the steps before
            read = np.union1d(read, rows)
            candidates = len(batch) * (1 + settings.negatives)
            operations += dim * (2 * len(rows) + 2 * candidates + 4 * len(batch) + 2 * len(rows) + 2 * due)
            uniforms += len(items) + len(negatives)
            normals += due * (dim + 1) + (dim if noise else 0)
        operations += dim * len(read)
    scale = workload.devices / counted
    of_the_sum = workload.num_items * (dim + 1) if noise else 0
    return Work(scale * operations, scale * uniforms, scale * normals + of_the_sum)


@compiled(fastmath={"contract"})
def add_up(left, right, factor, passes):
    """left ← left + factor · right, again and again."""
    for _ in range(passes):
        for place in range(len(left)):
            left[place] += factor * right[place]


@compiled()
def uniforms_in_bulk(key, words, uniforms, passes):
    """As many blocks as passes."""
    for number in range(passes):
        fill_words(key, 0, 0, 0, 2, number * LANES, words)
        fill_uniforms(words, uniforms)


@compiled()
def normals_in_bulk(key, words, normals, passes):
    """As many blocks as passes."""
    for number in range(passes):
        fill_words(key, 0, 0, 0, 7, number * LANES, words)
        fill_normals(words, normals)


@compiled(parallel=True)
def work_alone(key, passes, numbers, words, uniforms, normals):
    """All three on each thread, which has room of its own: the first axis of each array."""
    for thread in prange(len(numbers)):
        add_up(numbers[thread, 0], numbers[thread, 1], np.float32(1e-9), passes[0])
        uniforms_in_bulk(key, words[thread], uniforms[thread], passes[1])
        normals_in_bulk(key, words[thread], normals[thread], passes[2])
