"""bench.png and bench.svg: seconds per round against the number of devices, on logarithmic scales."""

from pathlib import Path

from matplotlib import pyplot

from terrycloth.experiments.bench.report import COHORT, FLOOR, Bench
from terrycloth.experiments.pages.colours import BLUE, GREEN, GREY, ORANGE
from terrycloth.experiments.pages.drawing import save

SCALED = {
    "flower_ray_opacus": (GREEN, "-.", "Flower + Ray + Opacus, scaled"),
    "opacus": (ORANGE, "--", "Opacus, one device after another, scaled"),
    FLOOR: (GREY, ":", "floor: only arithmetic and random draws"),
}


def draw_bench(folder: Path, bench: Bench) -> None:
    """Draw the cohort's measured times, and the others' times scaled from their time per device."""
    measured = [(point.size, point.timing.median) for point in bench.sweeps["devices"]] or [
        (bench.timings[COHORT].devices, bench.timings[COHORT].median)
    ]
    devices, seconds = zip(*measured, strict=True)
    figure = pyplot.figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(devices, seconds, color=BLUE, marker="o", markersize=4, label="terrycloth's cohort, measured")
    for name, (colour, style, label) in SCALED.items():
        if name in bench.timings:
            cost = bench.timings[name].median_a_device
            axes.plot(devices, [cost * number for number in devices], color=colour, ls=style, label=label)
    sizes = bench.sizes
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="devices",
        ylabel="seconds per round",
        title=f"DP-SGD on {bench.machine.cores} cores: {sizes.items:,} items × {sizes.dim}, "
        f"{sizes.events} events per device, {sizes.steps} steps",
    )
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    save(figure, folder, "bench")
