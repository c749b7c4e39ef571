"""The interface of everything that is measured, and the loop that measures it."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

Watch = Callable[[str], None]


class Contender(Protocol):
    """Something that starts once and then runs rounds on demand.

    name: the key of its timing. devices: the number of devices that one round trains.
    """

    name: str
    devices: int

    def start(self) -> None:
        """Do the work that a long run does only once. It is not measured, nor is the first round."""
        ...

    def round(self) -> None:
        """Run one whole round."""
        ...

    def stop(self) -> None:
        """Stop everything that `start` started, even if `start` failed half-way."""
        ...


def interleaved(contenders: Sequence[Contender], repeats: int, watch: Watch) -> dict[str, list[float]]:
    """Measure the contenders in turn and return the seconds of each repeat by contender's name.

    The order is a b c a b c …, so that changes in the machine's load affect all contenders equally. watch is
    called with a description of each step.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    try:
        for contender in contenders:
            watch(f"starting {contender.name}")
            contender.start()
            contender.round()  # compiles code, fills caches, and connects to the clients
        for number in range(repeats):
            for contender in contenders:
                watch(f"{contender.name}, {number + 1} of {repeats}")
                started = time.perf_counter()
                contender.round()
                seconds[contender.name].append(time.perf_counter() - started)
    finally:
        for contender in contenders:
            contender.stop()
    return seconds
