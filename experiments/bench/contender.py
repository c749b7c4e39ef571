"""What can be measured: something that gets ready once, and then does one round as often as it is told."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

Watch = Callable[[str], None]


class Contender(Protocol):
    """`name` is the timing's key. `devices`: how many one round trains."""

    name: str
    devices: int

    def start(self) -> None:
        """Get ready: whatever a long run pays once. Its first round is not measured either."""
        ...

    def round(self) -> None:
        """One whole round."""
        ...

    def stop(self) -> None:
        """End what `start` began, also if that failed half-way."""
        ...


def interleaved(contenders: Sequence[Contender], repeats: int, watch: Watch) -> dict[str, list[float]]:
    """Seconds of each repeat by name. In turns, a b c a b c …, so that the machine's mood hits all alike.

    watch is told what is being done.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    try:
        for contender in contenders:
            watch(f"starting {contender.name}")
            contender.start()
            contender.round()  # compiles, fills caches, meets the clients
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
