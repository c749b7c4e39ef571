"""Run all measurements of `terry bench` in order: the comparisons, the linear model, the sweeps."""

import time

from terrycloth.client.training.compiled_trainer import CompiledTrainer
from terrycloth.client.training.trainers import trainer_for
from terrycloth.experiments.bench import flower_ray, pfl_research
from terrycloth.experiments.bench.contender import Contender, Watch, interleaved
from terrycloth.experiments.bench.floor import Floor, Work, count_work
from terrycloth.experiments.bench.linear import linear_rounds
from terrycloth.experiments.bench.opacus_by_device import plain_opacus, reference
from terrycloth.experiments.bench.report import (
    COHORT,
    FLOOR,
    Bench,
    FloorWork,
    Machine,
    Memory,
    Point,
    Timing,
    installed,
    ratios,
)
from terrycloth.experiments.bench.sizes import Sizes
from terrycloth.experiments.bench.together import InProcess
from terrycloth.experiments.bench.workers import Prepare, Workers, cores
from terrycloth.experiments.bench.workload import DELTA, Workload, make_workload
from terrycloth.experiments.runs.operating_system import peak_memory
from terrycloth.models.privacy.accounting import noise_for
from terrycloth.models.recommenders.factorisation import Factorisation

NOT_REQUESTED = "not requested"
FACTORS = (0.25, 0.5, 1, 2, 4)  # a sweep multiplies the comparison's own size by these
SMALLEST_SWEPT = 1_000
SWEEP_REPEATS = 3  # at most
ALONE = (1, 10, 100, 1_000)  # numbers of events of a device that trains alone
ALONE_REPEATS = 15  # a round takes milliseconds


def measure(sizes: Sizes, watch: Watch) -> Bench:
    """Measure everything that the sizes request. watch is called with a description of each step."""
    started, machine = time.monotonic(), Machine.here()
    watch("computing the noise multiplier")
    noise = noise_for(sizes.epsilon, DELTA, sizes.sampling_rate, sizes.steps)
    timings: dict[str, Timing] = {}
    skipped: dict[str, str] = {}
    workload = make_workload(sizes, devices=sizes.devices, unit="interaction", noise_multiplier=noise)
    work = count_work(workload)
    compare_interactions(sizes, workload, work, timings, skipped, watch)
    compared = peak_memory()
    compare_shoppers(sizes, noise, timings, skipped, watch)
    compare_neural(sizes, noise, timings, skipped, watch)
    linear = {}
    if sizes.linear_devices:
        watch("the linear model")
        linear = linear_rounds(sizes.linear_devices)
    sweeps = sweep_all(sizes, noise, watch)
    return Bench(
        schema=1,
        sizes=sizes,
        noise_multiplier=noise,
        timings=timings,
        skipped=skipped,
        ratios=ratios(timings, sweeps["devices"]),
        floor=FloorWork(operations=work.operations, uniforms=work.uniforms, normals=work.normals),
        linear=linear,
        sweeps=sweeps,
        peak_memory_bytes=Memory(comparison=compared, all=peak_memory(), child=peak_memory(of_children=True)),
        machine=machine,
        versions=installed(),
        seconds=time.monotonic() - started,
    )


def compare_interactions(
    sizes: Sizes,
    workload: Workload,
    work: Work,
    timings: dict[str, Timing],
    skipped: dict[str, str],
    watch: Watch,
) -> None:
    """Time DP-SGD by the cohort, the same without privacy, the floor, and Opacus by device in three ways.

    Adds to `timings` and `skipped`.
    """
    open_round = make_workload(sizes, devices=sizes.devices, unit="none", noise_multiplier=0.0)
    contenders: dict[str, Contender] = {
        "cohort, by interaction": cohort(COHORT, workload),
        "cohort, not private": cohort("non_private", open_round),
        "floor": Floor(FLOOR, sizes.devices, work),
    }
    for name, number, label, prepare in (
        ("opacus", sizes.opacus_devices, "Opacus by device", plain_opacus),
        ("reference", sizes.reference_devices, "OpacusTrainer by device", reference),
    ):
        if number:
            contenders[label] = by_device(name, workload.part(0, number), prepare)
        else:
            skipped[name] = NOT_REQUESTED
    reason = flower_ray.missing() if sizes.flower_clients else NOT_REQUESTED
    if reason:
        skipped["flower_ray_opacus"] = reason
    else:
        clients = workload.part(0, sizes.flower_clients)
        contenders["Flower + Ray + Opacus"] = flower_ray.FlowerOnRay("flower_ray_opacus", clients)
    add_timings(contenders, sizes.repeats, timings, watch)


def compare_shoppers(
    sizes: Sizes, noise: float, timings: dict[str, Timing], skipped: dict[str, str], watch: Watch
) -> None:
    """Time a shopper-level round under central trust by SGD (cohort and pfl-research) and least squares.

    Least squares is what runs use at this level: they solve for the vectors instead, and take one step on the
    whole catalogue. Adds to `timings` and `skipped`.
    """
    workload = make_workload(sizes, devices=sizes.devices, unit="shopper", noise_multiplier=noise)
    solved = trainer_for(workload.model(), workload.settings, True)
    contenders: dict[str, Contender] = {
        "cohort, by shopper": cohort("cohort_shopper", workload),
        "least squares, by shopper": InProcess("least_squares_shopper", solved, workload),
    }
    reason = pfl_research.missing() if sizes.pfl_users else NOT_REQUESTED
    if reason:
        skipped["pfl"] = reason
    else:
        contenders["pfl-research"] = pfl_research.PflResearch("pfl", workload.part(0, sizes.pfl_users))
    add_timings(contenders, sizes.repeats, timings, watch)


def compare_neural(
    sizes: Sizes, noise: float, timings: dict[str, Timing], skipped: dict[str, str], watch: Watch
) -> None:
    """Time neural CF at interaction level, with all devices together and one device after the other.

    Adds to `timings` and `skipped`.
    """
    if not sizes.neural_devices:
        skipped["neural_cf"] = NOT_REQUESTED
        return
    workload = make_workload(
        sizes, devices=sizes.neural_devices, unit="interaction", noise_multiplier=noise, model="neural-cf"
    )
    together = trainer_for(workload.model(), workload.settings, True)
    if type(together) is type(trainer_for(workload.model(), workload.settings, False)):
        skipped["neural_cf"] = "neural CF has no trainer for all devices together yet"
        return
    contenders: dict[str, Contender] = {
        "neural CF together": InProcess("neural_cf", together, workload),
        "neural CF by device": by_device("neural_cf_by_device", workload, reference),
    }
    add_timings(contenders, sizes.repeats, timings, watch)


def cohort(name: str, workload: Workload) -> InProcess:
    """Return the contender that trains all devices at once by the compiled trainer."""
    model = workload.model()
    assert isinstance(model, Factorisation)
    return InProcess(name, CompiledTrainer(model, workload.settings), workload)


def by_device(name: str, workload: Workload, prepare: Prepare) -> Workers:
    """Return the contender that trains one device after the other, in as many processes as cores."""
    return Workers(name, workload.devices, prepare, workload.split(cores()))


def add_timings(
    contenders: dict[str, Contender], repeats: int, timings: dict[str, Timing], watch: Watch
) -> None:
    """Measure the contenders in turn and add their timings. contenders: by the label that the table shows."""
    seconds = interleaved(list(contenders.values()), repeats, watch)
    for label, contender in contenders.items():
        timings[contender.name] = Timing.of(label, contender.devices, seconds[contender.name])


def sweep_all(sizes: Sizes, noise: float, watch: Watch) -> dict[str, list[Point]]:
    """Measure the cohort against the numbers of devices, events and items and against dim.

    The last three sweeps vary around the comparison's sizes. The sweep "alone" measures one device against
    its number of events, because the time that a device takes reveals how many it has.
    """
    of_devices = {most: (sizes, most) for most in device_counts(sizes.devices_most)}
    repeats = min(SWEEP_REPEATS, sizes.repeats)
    points = {"devices": sweep(of_devices, noise, repeats, watch)}
    for field in ("events", "items", "dim"):
        changed = {}
        for factor in FACTORS if sizes.sweep_devices else ():
            size = max(2, round(factor * getattr(sizes, field)))
            swept = with_events(sizes, size) if field == "events" else sizes.model_copy(update={field: size})
            changed[size] = (swept, sizes.sweep_devices)
        points[field] = sweep(changed, noise, repeats, watch)
    alone = {events: (with_events(sizes, events), 1) for events in ALONE if sizes.sweep_devices}
    points["alone"] = sweep(alone, noise, ALONE_REPEATS, watch)
    return points


def with_events(sizes: Sizes, events: int) -> Sizes:
    """Return sizes with another number of events per device and the same sampling rate."""
    batch = max(1, round(events * sizes.sampling_rate))
    return sizes.model_copy(update={"events": events, "batch": batch})


def sweep(cases: dict[int, tuple[Sizes, int]], noise: float, repeats: int, watch: Watch) -> list[Point]:
    """Measure the cohort in turn for each case: swept size → (all sizes, number of devices)."""
    contenders = {
        size: cohort(
            f"{devices:,} devices, {sizes.events:,} events, {sizes.items:,} items, dim {sizes.dim}",
            make_workload(sizes, devices=devices, unit="interaction", noise_multiplier=noise),
        )
        for size, (sizes, devices) in cases.items()
    }
    seconds = interleaved(list(contenders.values()), repeats, watch)
    return [
        Point(size=size, timing=Timing.of(contender.name, contender.devices, seconds[contender.name]))
        for size, contender in contenders.items()
    ]


def device_counts(most: int) -> list[int]:
    """Return the powers of ten from 1,000 that are below `most`, then `most` itself; nothing if it is 0."""
    counts = [SMALLEST_SWEPT * 10**power for power in range(8)]
    return [count for count in counts if count < most] + ([most] if most else [])
