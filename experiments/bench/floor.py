"""The floor of a cohort's round: the time for its arithmetic and random numbers alone, on this machine.

The arithmetic is counted in operations on single-precision numbers. d is the dimension. One step of one
device has b interactions with 1 + n candidates each. The candidates are R different rows of the table, of
which A also need the noise of earlier steps:

    scores                                     2 d R
    gradients in the shopper's vector          2 d b (1 + n)
    norms and clipped sum of the gradients     4 d b
    updates of the rows                        2 d R
    noise added to rows                        2 d A
    once per device, rows added to the sum     d · (different rows of all steps)

The random numbers are one uniform for each event's sampling draw and one for each negative. Under a promise
at interaction level, each step also needs one normal for each coordinate of the shopper's vector and of the A
rows and biases, and the round needs one for each coordinate of the sum. R and A are counted on the first
devices, from exactly the draws that their streams give.

As a contender the floor does this number of operations and draws on all cores and nothing else. It is
measured in turn with the cohort. The arithmetic is y ← y + a·x in a compiled loop on numbers in the
first-level cache (two operations per element). The draws come in bulk from
client/training/compiled/compiled_streams.py. The floor leaves out all work that looks up, moves or stores
data, so no implementation can reach it.
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

COUNTED = 64  # the number of devices whose rows are counted
IN_CACHE = 2048  # the length of each of two arrays, which take 16 KiB together


@dataclass(frozen=True)
class Work:
    """The operations and random numbers that a round cannot avoid."""

    operations: float
    uniforms: float
    normals: float

    def passes(self, threads: int) -> tuple[int, int, int]:
        """Return how many passes of each kind every thread makes.

        One pass is IN_CACHE multiply-additions, UNIFORMS uniforms or NORMALS normals.
        """
        return (
            math.ceil(self.operations / (2 * IN_CACHE * threads)),
            math.ceil(self.uniforms / (UNIFORMS * threads)),
            math.ceil(self.normals / (NORMALS * threads)),
        )


class Floor:
    """The contender that only does the unavoidable work of a cohort's round."""

    def __init__(self, name: str, devices: int, work: Work) -> None:
        self.name = name
        self.devices = devices
        self.work = work

    def start(self) -> None:
        """Do nothing."""

    def round(self) -> None:
        """Do the work once, on as many threads as the cohort uses."""
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
        """Do nothing."""


def count_work(workload: Workload) -> Work:
    """Count the work of one round from the draws of its first devices."""
    settings, cohort, dim = workload.settings, workload.cohort, workload.settings.dim
    counted = min(COUNTED, workload.devices)
    noise = settings.unit == "interaction" and settings.noise > 0
    operations, uniforms, normals = 0, 0, 0
    for place in range(counted):
        items = cohort.events.span(place, place + 1).items
        device, read = int(cohort.devices[place]), np.empty(0, dtype=np.int64)
        for step in range(settings.steps_per_round):
            draws = cohort.stream(device, step, Purpose.BATCH).uniforms(len(items))
            batch = items[draws < settings.sampling_rate]
            negatives = cohort.stream(device, step, Purpose.NEGATIVES).integers(
                len(batch) * settings.negatives, workload.num_items
            )
            rows = np.unique(np.concatenate([batch, negatives]))
            due = len(rows) if noise and step > 0 else 0  # each row needs the noise of the earlier steps
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
    """Compute left ← left + factor · right, `passes` times."""
    for _ in range(passes):
        for place in range(len(left)):
            left[place] += factor * right[place]


@compiled()
def uniforms_in_bulk(key, words, uniforms, passes):
    """Draw `passes` blocks of uniforms."""
    for number in range(passes):
        fill_words(key, 0, 0, 0, 2, number * LANES, words)
        fill_uniforms(words, uniforms)


@compiled()
def normals_in_bulk(key, words, normals, passes):
    """Draw `passes` blocks of normals."""
    for number in range(passes):
        fill_words(key, 0, 0, 0, 7, number * LANES, words)
        fill_normals(words, normals)


@compiled(parallel=True)
def work_alone(key, passes, numbers, words, uniforms, normals):
    """Do all three kinds of work on each thread, which uses its own part of the first axis of each array."""
    for thread in prange(len(numbers)):
        add_up(numbers[thread, 0], numbers[thread, 1], np.float32(1e-9), passes[0])
        uniforms_in_bulk(key, words[thread], uniforms[thread], passes[1])
        normals_in_bulk(key, words[thread], normals[thread], passes[2])
