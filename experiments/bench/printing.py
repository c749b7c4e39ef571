"""What `terry bench` prints: what each contender took, the ratios beside what is asked, and the rest."""

from rich import box
from rich.console import Console
from rich.table import Column, Table

from terrycloth.experiments.bench.report import RATIOS, Bench, Ratio


def print_bench(console: Console, bench: Bench) -> None:
    """All of it."""
    console.print(timings_table(bench))
    console.print(ratios_table(bench))
    for line in lines(bench):
        console.print(line, soft_wrap=True)


def timings_table(bench: Bench) -> Table:
    """A line a contender."""
    sizes, machine = bench.sizes, bench.machine
    table = Table(
        Column("a round of", no_wrap=True),
        Column("devices", justify="right"),
        Column("seconds", justify="right"),
        Column("least–most", justify="right", no_wrap=True),
        Column("ms a device", justify="right"),
        box=box.SIMPLE,
        title=f"{sizes.items:,} items × {sizes.dim}, {sizes.events} events a device, batches of "
        f"{sizes.batch}, {sizes.negatives} negatives, {sizes.steps} steps, ε = {sizes.epsilon:g}\n"
        f"{machine.cores} cores ({machine.processor}), {sizes.repeats} repeats, medians",
        caption="Each on all cores. Those on fewer devices are scaled: ratios are of ms a device.",
    )
    for timing in bench.timings.values():
        table.add_row(
            timing.what,
            f"{timing.devices:,}",
            f"{timing.median:.3f}",
            f"{timing.least:.3f}–{timing.most:.3f}",
            f"{1e3 * timing.median_a_device:.4g}",
        )
    return table


def ratios_table(bench: Bench) -> Table:
    """A line a ratio."""
    table = Table(
        "ratio",
        "",
        Column("measured", justify="right"),
        "must",
        "aim",
        "",
        box=box.SIMPLE,
        padding=(0, 0, 0, 1),
    )
    for name, ratio in RATIOS.items():
        value = bench.ratios[name]
        measured = "–" if value is None else f"{value:,.3g}×" if value < 100 else f"{value:,.0f}×"
        asked = [bound(ratio, ratio.must), bound(ratio, ratio.aim)]
        table.add_row(name, ratio.text, measured, *asked, verdict(ratio, value))
    return table


def bound(ratio: Ratio, value: float | None) -> str:
    """Which side of what."""
    return "" if value is None else f"{'≥' if ratio.at_least else '≤'} {value:,.4g}×"


def verdict(ratio: Ratio, value: float | None) -> str:
    """What the measured value meets."""
    if value is None or ratio.must is None:
        return ""
    if ratio.aim is not None and ratio.met(value, ratio.aim):
        return "aim met"
    return "met" if ratio.met(value, ratio.must) else "missed"


def lines(bench: Bench) -> list[str]:
    """What was left out, the linear model, the sweeps, memory."""
    said = [f"{name} was not measured: {reason}." for name, reason in bench.skipped.items()]
    if bench.linear:
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in bench.linear.items())
        said.append(
            f"The linear model's two rounds, {bench.sizes.linear_devices:,} towel-like devices × 300 items: "
            f"{parts}."
        )
    for field, points in bench.sweeps.items():
        costs = ", ".join(f"{point.size:,}: {1e6 * point.timing.median_a_device:.3g}" for point in points)
        if points and field == "alone":
            said.append(f"µs of a device that trains alone, by the events that it holds: {costs}.")
        elif points:
            said.append(f"µs a device of the cohort, by {field}: {costs}.")
    memory = bench.peak_memory_bytes
    said.append(
        f"Most memory: {memory.comparison / 2**20:,.0f} MiB by the end of the comparison, "
        f"{memory.all / 2**20:,.0f} MiB in all; {memory.child / 2**20:,.0f} MiB in the largest child."
    )
    said.append(f"{bench.seconds:.0f} s in all; load before it {bench.machine.load:.2f}.")
    return said
