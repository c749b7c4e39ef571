"""A fingerprint of the data that a run has read, by which a resumed run notices that they changed."""

import hashlib

import numpy as np

from terrycloth.experiments.datasets.dataset import Dataset


def fingerprint(dataset: Dataset) -> str:
    """Return 32 hexadecimal digits that depend on every event and on the whole catalogue, in their order.

    It is as private as the events: whoever guesses all of them can check the guess.
    """
    digest = hashlib.blake2b(digest_size=16)
    events = dataset.events
    for array in (events.offsets, events.items, events.times, events.weights):
        digest.update(str(array.dtype).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    table = dataset.catalogue.table
    for column in table:
        digest.update(repr((column, [np.asarray(cell).tolist() for cell in table[column]])).encode())
    return digest.hexdigest()
