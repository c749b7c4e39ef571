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

Speed: y ← y + a·x in a compiled loop on numbers in the first-level cache (two operations an element), the
best of several tries, and draws in bulk from client/compiled_streams.py. The floor is that much time on all
cores together. It leaves out whatever finds, moves or remembers anything, so nothing can reach it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from client.compiled_streams import (
    LANES,
    NORMALS,
    UNIFORMS,
    WORDS,
    fill_normals,
    fill_uniforms,
    fill_words,
    key_words,
)
from experiments.bench.workload import Workload
from models.randomness import Purpose

COUNTED = 64  # devices whose rows are counted
TRIES = 7
IN_CACHE = 2048  # numbers of each of two arrays: 16 KiB together
PASSES = 20_000


@dataclass(frozen=True)
class Speed:
    """Of one core: operations a second, and seconds for one draw."""

    operations: float
    uniform: float
    normal: float


@dataclass(frozen=True)
class Work:
    """What a round cannot do without."""

    operations: float
    uniforms: float
    normals: float

    def seconds(self, speed: Speed, cores: int) -> float:
        """On so many cores, with nothing else to do."""
        arithmetic = self.operations / speed.operations
        draws = self.uniforms * speed.uniform + self.normals * speed.normal
        return (arithmetic + draws) / cores


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
            again = len(np.intersect1d(rows, read)) if noise else 0
            read = np.union1d(read, rows)
            candidates = len(batch) * (1 + settings.negatives)
            operations += dim * (2 * len(rows) + 2 * candidates + 4 * len(batch) + 2 * len(rows) + 2 * again)
            uniforms += len(items) + len(negatives)
            normals += again * (dim + 1) + (dim if noise else 0)
        operations += dim * len(read)
    scale = workload.devices / counted
    of_the_sum = workload.num_items * (dim + 1) if noise else 0
    return Work(scale * operations, scale * uniforms, scale * normals + of_the_sum)


def measure_speed() -> Speed:
    """On one core, now."""
    left, right = np.ones(IN_CACHE, np.float32), np.ones(IN_CACHE, np.float32)
    words, uniforms = np.empty((WORDS, LANES), np.uint32), np.empty(UNIFORMS)
    scratch, normals = np.empty((3, NORMALS // 2), np.float32), np.empty(NORMALS, np.float32)
    key = key_words(bytes(32))
    return Speed(
        operations=2 * IN_CACHE * PASSES / least(lambda: add_up(left, right, np.float32(1e-9), PASSES)),
        uniform=least(lambda: uniforms_in_bulk(key, words, uniforms, PASSES)) / (PASSES * UNIFORMS),
        normal=least(lambda: normals_in_bulk(key, words, scratch, normals, PASSES)) / (PASSES * NORMALS),
    )


def least(action: Callable[[], None]) -> float:
    """Seconds of the fastest of TRIES, after one that compiles."""
    action()
    seconds = []
    for _ in range(TRIES):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@njit(cache=True, fastmath={"contract"})
def add_up(left, right, factor, passes):
    """left ← left + factor · right, again and again."""
    for _ in range(passes):
        for place in range(len(left)):
            left[place] += factor * right[place]


@njit(cache=True)
def uniforms_in_bulk(key, words, uniforms, passes):
    """As many blocks as passes."""
    for number in range(passes):
        fill_words(key, 0, 0, 0, 2, number * LANES, words)
        fill_uniforms(words, uniforms)


@njit(cache=True)
def normals_in_bulk(key, words, scratch, normals, passes):
    """As many blocks as passes."""
    for number in range(passes):
        fill_words(key, 0, 0, 0, 7, number * LANES, words)
        fill_normals(words, scratch, normals)
