"""The output of `terry bench`: each contender's time, the ratios and their bounds, and other results."""

from rich import box
from rich.console import Console
from rich.table import Column, Table

from terrycloth.experiments.bench.report import RATIOS, Bench, Ratio


def print_bench(console: Console, bench: Bench) -> None:
    """Print the two tables and the lines below them."""
    console.print(timings_table(bench))
    console.print(ratios_table(bench))
    for line in lines(bench):
        console.print(line, soft_wrap=True)


def timings_table(bench: Bench) -> Table:
    """Return the table of timings, with one row per contender."""
    sizes, machine = bench.sizes, bench.machine
    table = Table(
        Column("one round of", no_wrap=True),
        Column("devices", justify="right"),
        Column("seconds", justify="right"),
        Column("min–max", justify="right", no_wrap=True),
        Column("ms per device", justify="right"),
        box=box.SIMPLE,
        title=f"{sizes.items:,} items × {sizes.dim}, {sizes.events} events per device, batches of "
        f"{sizes.batch}, {sizes.negatives} negatives, {sizes.steps} steps, ε = {sizes.epsilon:g}\n"
        f"{machine.cores} cores ({machine.processor}), medians of {sizes.repeats} repeats",
        caption="Each contender uses all cores. Ratios compare ms per device, as some train fewer devices.",
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
    """Return the table of ratios, with one row per ratio."""
    table = Table(
        "ratio",
        "",
        Column("measured", justify="right"),
        "bound",
        "aim",
        "",
        box=box.SIMPLE,
        padding=(0, 0, 0, 1),
    )
    for name, ratio in RATIOS.items():
        value = bench.ratios[name]
        measured = "–" if value is None else f"{value:,.3g}×" if value < 100 else f"{value:,.0f}×"
        bounds = [bound(ratio, ratio.must), bound(ratio, ratio.aim)]
        table.add_row(name, ratio.text, measured, *bounds, verdict(ratio, value))
    return table


def bound(ratio: Ratio, value: float | None) -> str:
    """Return a bound with its sign, such as "≥ 120×", or an empty text if there is none."""
    return "" if value is None else f"{'≥' if ratio.at_least else '≤'} {value:,.4g}×"


def verdict(ratio: Ratio, value: float | None) -> str:
    """Return which bound the measured value meets, or an empty text if there is nothing to compare."""
    if value is None or ratio.must is None:
        return ""
    if ratio.aim is not None and ratio.met(value, ratio.aim):
        return "aim met"
    return "met" if ratio.met(value, ratio.must) else "missed"


def lines(bench: Bench) -> list[str]:
    """Return the lines below the tables: skipped contenders, linear model, sweeps, memory and time."""
    sentences = [f"{name} was not measured: {reason}." for name, reason in bench.skipped.items()]
    if bench.linear:
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in bench.linear.items())
        sentences.append(
            f"The linear model's two rounds with {bench.sizes.linear_devices:,} devices and 300 items: "
            f"{parts}."
        )
    for field, points in bench.sweeps.items():
        costs = ", ".join(f"{point.size:,}: {1e6 * point.timing.median_a_device:.3g}" for point in points)
        if points and field == "alone":
            sentences.append(f"µs per round of one device alone, by its number of events: {costs}.")
        elif points:
            sentences.append(f"µs per device of the cohort, by {field}: {costs}.")
    memory = bench.peak_memory_bytes
    sentences.append(
        f"Peak memory: {memory.comparison / 2**20:,.0f} MiB by the end of the comparison, "
        f"{memory.all / 2**20:,.0f} MiB in all, {memory.child / 2**20:,.0f} MiB in the largest child process."
    )
    sentences.append(f"Total time {bench.seconds:.0f} s; load average before it {bench.machine.load:.2f}.")
    return sentences
