"""bench.json: what was measured, on what, and the ratios that follow from it."""

import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from terrycloth.experiments.bench.sizes import Sizes
from terrycloth.experiments.bench.workers import cores

PACKAGES = ("terrycloth", "torch", "numpy", "numba", "opacus", "flwr", "ray", "pfl")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Timing(_Part):
    """Rounds of one contender, warm-up left out. seconds: of each repeat, for `devices` devices."""

    what: str
    devices: int
    seconds: list[float]
    median: float
    least: float
    most: float
    median_a_device: float

    @classmethod
    def of(cls, what: str, devices: int, seconds: list[float]) -> "Timing":
        """Of at least one repeat."""
        middle = median(seconds)
        return cls(
            what=what,
            devices=devices,
            seconds=seconds,
            median=middle,
            least=min(seconds),
            most=max(seconds),
            median_a_device=middle / devices,
        )


class Point(_Part):
    """A size of a sweep, and a cohort's round at it."""

    size: int
    timing: Timing


class FloorWork(_Part):
    """Of one round of the cohort: what experiments/bench/floor.py counts."""

    operations: float
    uniforms: float
    normals: float


class Machine(_Part):
    """What it was measured on. load: processes that ran or waited before it began, over one minute."""

    processor: str
    platform: str
    python: str
    cores: int
    memory_bytes: int
    load: float

    @classmethod
    def here(cls) -> "Machine":
        """Now."""
        return cls(
            processor=processor(),
            platform=platform.platform(),
            python=platform.python_version(),
            cores=cores(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            load=os.getloadavg()[0],
        )


class Memory(_Part):
    """Most bytes resident: here by the end of the comparison and of all, and in the largest child."""

    comparison: int
    all: int
    child: int


class Bench(_Part):
    """The whole of bench.json. `skipped`: why a timing is absent. A key may be added; none is renamed."""

    schema_version: Literal[1] = Field(alias="schema")
    sizes: Sizes
    noise_multiplier: float
    timings: dict[str, Timing]
    skipped: dict[str, str]
    ratios: dict[str, float | None]
    floor: FloorWork
    linear: dict[str, float]
    sweeps: dict[str, list[Point]]
    peak_memory_bytes: Memory
    machine: Machine
    versions: dict[str, str | None]
    seconds: float


class Ratio(NamedTuple):
    """How many times longer `slow` takes than `fast` a device, and what is asked: at least, or at most."""

    slow: str
    fast: str
    must: float | None
    aim: float | None
    at_least: bool
    text: str

    def met(self, value: float, bound: float) -> bool:
        """Whether a measured value is on the right side of a bound."""
        return value >= bound if self.at_least else value <= bound


FLOOR = "floor"
COHORT = "cohort"

RATIOS = {
    "opacus": Ratio("opacus", COHORT, 120, 500, True, "Opacus / cohort"),
    "flower_ray_opacus": Ratio("flower_ray_opacus", COHORT, 250, 1200, True, "Flower / cohort"),
    "pfl": Ratio("pfl", "cohort_shopper", 8, 30, True, "pfl / cohort"),
    "neural_cf": Ratio("neural_cf_by_device", "neural_cf", 10, 50, True, "by device / together"),
    "non_private": Ratio(COHORT, "non_private", 1.5, 1.1, False, "private / not"),
    FLOOR: Ratio(COHORT, FLOOR, 6, 2, False, "cohort / floor"),
    "reference": Ratio("reference", COHORT, None, None, True, "OpacusTrainer / cohort"),
    "growth": Ratio("", "", 1.2, None, False, "most / 10,000"),
}


def ratios(timings: dict[str, Timing], devices: list[Point]) -> dict[str, float | None]:
    """By the medians a device; None where one of two was not measured. devices: the sweep of that name."""
    values: dict[str, float | None] = {}
    for name, ratio in RATIOS.items():
        if ratio.slow in timings and ratio.fast in timings:
            values[name] = timings[ratio.slow].median_a_device / timings[ratio.fast].median_a_device
        else:
            values[name] = None
    costs = {point.size: point.timing.median_a_device for point in devices}
    if 10_000 in costs and max(costs) > 10_000:
        values["growth"] = costs[max(costs)] / costs[10_000]
    return values


def processor() -> str:
    """Its name, as the system has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def peak_memory(who: int = resource.RUSAGE_SELF) -> int:
    """Most bytes that were resident so far, in this process or its largest child that has ended."""
    return resource.getrusage(who).ru_maxrss * 1024


def installed() -> dict[str, str | None]:
    """Versions of what was compared; None: not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
