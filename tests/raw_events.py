"""A search for what devices hold, in the bytes that leave them.

It looks for each device's items, times and vector in every encoding in which a programming error would put
them, and for keys. It looks for sequences of eight bytes or more, so a match by chance has a probability
below 1e-6 over a run.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from terrycloth.client.events import Events
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import REPLY_RECORD, UPDATE_RECORD, Refusal, to_arrays

PUBLIC_FACTS = {"protocol", "round", "answered"} | {f"refused.{reason}" for reason in Refusal}


def encodings(numbers: Iterable[float]) -> Iterator[bytes]:
    """Yield a list of numbers as in memory and as text, in both directions."""
    values = list(numbers)
    for kind in ("int16", "int32", "int64", "float32", "float64"):
        if kind == "int16" and max(values) >= 2**15:
            continue
        for order in ("<", ">"):
            yield np.array(values).astype(np.dtype(kind).newbyteorder(order)).tobytes()
    for separator in (", ", ",", " ", "\n"):
        yield separator.join(str(value) for value in values).encode()


def event_needles(events: Events) -> set[bytes]:
    """Return items in order, sorted, and without repeats; times; and the group's counts; from 8 bytes on."""
    needles: set[bytes] = set()
    for device in range(events.num_devices):
        own = events.span(device, device + 1)
        items = own.items.tolist()
        for listed in (items, items[::-1], sorted(items), list(dict.fromkeys(items)), sorted(set(items))):
            if len(listed) >= 4:
                needles |= set(encodings(listed))
        for time in own.times.tolist():
            needles |= {needle for needle in encodings([time]) if len(needle) >= 8}
    for counts in (events.counts, events.offsets[1:]):
        for start in range(0, events.num_devices - 4, 2):
            needles |= set(encodings(counts[start : start + 4].tolist()))
    return {needle for needle in needles if len(needle) >= 8 and needle.count(0) < len(needle) - 1}


def vector_needles(vectors: torch.Tensor) -> set[bytes]:
    """Return all pairs of neighbouring coordinates of a vector, in both precisions and as text."""
    needles: set[bytes] = set()
    for row in vectors.numpy():
        if not row.any():
            continue  # the device has never taken part
        for place in range(len(row) - 1):
            pair = row[place : place + 2]
            needles |= {pair.tobytes(), pair.astype(np.float64).tobytes()}
        needles |= {str(float(value)).encode() for value in row}
    return needles


def key_needles(keys: Iterable[bytes]) -> set[bytes]:
    """Return keys as they are used, and as text."""
    return {form for key in keys for form in (key, key.hex().encode(), repr(key)[2:-1].encode())}


class Search:
    """Find any of many byte strings: every position is compared with the first eight bytes of each."""

    def __init__(self, needles: set[bytes]) -> None:
        self.by_prefix: dict[bytes, list[bytes]] = {}
        for needle in needles:
            self.by_prefix.setdefault(needle[:8], []).append(needle)
        self.prefixes = np.sort(np.frombuffer(b"".join(self.by_prefix), dtype="<u8"))

    def found(self, content: bytes) -> bool:
        for shift in range(min(8, len(content))):
            words = np.frombuffer(content, dtype="<u8", offset=shift, count=(len(content) - shift) // 8)
            nearest = np.searchsorted(self.prefixes, words).clip(max=len(self.prefixes) - 1)
            for place in np.flatnonzero(self.prefixes[nearest] == words):
                start = shift + 8 * int(place)
                needles = self.by_prefix[content[start : start + 8]]
                if any(content.startswith(needle, start) for needle in needles):
                    return True
        return False


def every_byte(content: RecordDict) -> bytes:
    """Return what crosses: objects as Flower sends them, arrays also as plain numbers, facts as text."""
    parts = [part.deflate() for part in get_all_nested_objects(content).values()]
    for record in content.values():
        if isinstance(record, ConfigRecord | MetricRecord):
            parts.append(repr(dict(record)).encode())
            parts += [value for value in record.values() if isinstance(value, bytes)]
        else:
            parts += [array.data for array in record.values()]
            parts += [array.numpy().tobytes() for array in record.values()]
    return b"\x00\xff".join(parts)


def leaks(content: RecordDict, shared: Parameters, round: int, search: Search, most: int) -> list[str]:
    """Return why a reply holds more than it may, with no fact above `most`; empty for a sound one."""
    reasons = []
    if set(content) != {UPDATE_RECORD, REPLY_RECORD}:
        reasons.append("record")
    arrays, facts = content.get(UPDATE_RECORD, {}), content.get(REPLY_RECORD, {})
    if set(arrays) not in (set(), set(shared)):
        reasons.append("array")
    if not set(facts) <= PUBLIC_FACTS:
        reasons.append("fact")
    if not all(type(value) is int and 0 <= value <= most for value in facts.values()):
        reasons.append("value")
    if facts.get("round") != round:
        reasons.append("round")
    sizes = {name: len(array.data) for name, array in to_arrays(shared).items()}
    if any(len(array.data) != sizes.get(name) for name, array in arrays.items()):
        reasons.append("size")
    if search.found(every_byte(content)):
        reasons.append("bytes")
    return reasons
