"""bench.png and .svg: seconds of a round against devices, on logarithmic scales."""

from pathlib import Path

from matplotlib import pyplot

from terrycloth.experiments.bench.report import COHORT, FLOOR, Bench
from terrycloth.experiments.reports.figures import BLUE, GREEN, GREY, ORANGE, save

SCALED = {
    "flower_ray_opacus": (GREEN, "-.", "Flower + Ray + Opacus, scaled"),
    "opacus": (ORANGE, "--", "Opacus device by device, scaled"),
    FLOOR: (GREY, ":", "floor: arithmetic and draws alone"),
}


def draw_bench(folder: Path, bench: Bench) -> None:
    """The cohort as it was measured; the others from what one device cost them."""
    measured = [(point.size, point.timing.median) for point in bench.sweeps["devices"]] or [
        (bench.timings[COHORT].devices, bench.timings[COHORT].median)
    ]
    devices, seconds = zip(*measured, strict=True)
    figure = pyplot.figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(devices, seconds, color=BLUE, marker="o", markersize=4, label="terrycloth's cohort, measured")
    for name, (colour, style, label) in SCALED.items():
        if name in bench.timings:
            each = bench.timings[name].median_a_device
            axes.plot(devices, [each * number for number in devices], color=colour, ls=style, label=label)
    sizes = bench.sizes
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="devices",
        ylabel="seconds a round",
        title=f"DP-SGD on {bench.machine.cores} cores: {sizes.items:,} items × {sizes.dim}, "
        f"{sizes.events} events a device, {sizes.steps} steps",
    )
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    save(figure, folder, "bench")
