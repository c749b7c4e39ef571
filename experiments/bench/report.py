"""The contents of bench.json: the measurements, the machine, and the ratios computed from them."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from terrycloth.experiments.bench.sizes import Sizes
from terrycloth.experiments.bench.workers import cores
from terrycloth.experiments.runs.operating_system import processor

PACKAGES = ("terrycloth", "torch", "numpy", "numba", "opacus", "flwr", "ray", "pfl")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Timing(_Part):
    """The timed rounds of one contender, without the warm-up.

    what: the contender's label. seconds: the time of each repeat, for `devices` devices. median_a_device: the
    median divided by the number of devices.
    """

    what: str
    devices: int
    seconds: list[float]
    median: float
    least: float
    most: float
    median_a_device: float

    @classmethod
    def of(cls, what: str, devices: int, seconds: list[float]) -> "Timing":
        """Return the timing of at least one repeat."""
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
    """One size of a sweep and the timing of the cohort at that size."""

    size: int
    timing: Timing


class FloorWork(_Part):
    """The work of one round of the cohort, as counted by experiments/bench/floor.py."""

    operations: float
    uniforms: float
    normals: float


class Machine(_Part):
    """The machine that ran the benchmark. load: the one-minute load average before the benchmark."""

    processor: str
    platform: str
    python: str
    cores: int
    memory_bytes: int
    load: float

    @classmethod
    def here(cls) -> "Machine":
        """Return a description of this machine at this moment."""
        return cls(
            processor=processor(),
            platform=platform.platform(),
            python=platform.python_version(),
            cores=cores(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            load=os.getloadavg()[0],
        )


class Memory(_Part):
    """Peak resident memory in bytes.

    comparison: of this process, by the end of the comparison by interactions. all: of this process, by the
    end. child: of the largest child process.
    """

    comparison: int
    all: int
    child: int


class Bench(_Part):
    """The whole of bench.json. Keys may be added, but none is renamed.

    skipped: why a timing is missing, by the timing's name.
    """

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
    """How many times longer `slow` takes per device than `fast`, and the bounds of this ratio.

    must: the bound that the ratio has to meet. aim: the bound that it should meet. at_least: whether the
    bounds are lower bounds. text: the label in the table.
    """

    slow: str
    fast: str
    must: float | None
    aim: float | None
    at_least: bool
    text: str

    def met(self, value: float, bound: float) -> bool:
        """Return whether a measured value meets a bound."""
        return value >= bound if self.at_least else value <= bound


FLOOR = "floor"
COHORT = "cohort"

RATIOS = {
    "opacus": Ratio("opacus", COHORT, 120, 500, True, "Opacus / cohort"),
    "flower_ray_opacus": Ratio("flower_ray_opacus", COHORT, 250, 1200, True, "Flower / cohort"),
    "pfl": Ratio("pfl", "cohort_shopper", 8, 30, True, "pfl / cohort"),
    "neural_cf": Ratio("neural_cf_by_device", "neural_cf", 10, 50, True, "by device / together"),
    "non_private": Ratio(COHORT, "non_private", 1.5, 1.1, False, "private / not private"),
    FLOOR: Ratio(COHORT, FLOOR, 6, 2, False, "cohort / floor"),
    "reference": Ratio("reference", COHORT, None, None, True, "OpacusTrainer / cohort"),
    "growth": Ratio("", "", 1.2, None, False, "most devices / 10,000"),
}


def ratios(timings: dict[str, Timing], devices: list[Point]) -> dict[str, float | None]:
    """Return each ratio of the medians per device, or None if one of the two was not measured.

    devices: the points of the sweep over the number of devices.
    """
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


def installed() -> dict[str, str | None]:
    """Return the versions of the compared packages by name; None for a package that is not installed."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions
