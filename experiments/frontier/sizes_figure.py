"""The figure of accuracy against the number of devices: how the cost of a promise falls with size."""

import math
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.frontier.alt_text import below_floor_sentences, describe_sizes, split_sentences
from terrycloth.experiments.frontier.points import Federation, family_heading, family_title
from terrycloth.experiments.frontier.style import (
    NAMES,
    WIDTH,
    Drawn,
    face,
    finish,
    labels_of,
    ladder,
    legend,
    slug,
    title,
)
from terrycloth.experiments.reports.figures import DOTTED, GREY, save


def draw_sizes(folder: Path, sizes: list[Federation]) -> Drawn:
    """Draw one column per model and promise, HR@10 above NDCG@10, with one line per ε."""
    labels = labels_of(sizes)
    epsilons = sorted({point.epsilon for federation in sizes for point in federation.points})
    figure = pyplot.figure(figsize=(max(WIDTH, 2.6 * len(labels)), 6.4), layout="constrained")
    panels = figure.subplots(2, len(labels), sharex=True, sharey="row", squeeze=False)
    for column, label in enumerate(labels):
        for row, metric in enumerate(("hr@10", "ndcg@10")):
            axes = panels[row, column]
            for epsilon, (colour, marker) in zip(epsilons, ladder(epsilons), strict=True):
                growing(axes, sizes, label, epsilon, metric, colour, marker)
            for name, dashes in ((NOTHING_RELEASED, DOTTED), ("popularity", "--")):
                levels = [(one.devices, one.level(name, metric) or math.nan) for one in sizes]
                axes.plot(*zip(*levels, strict=True), color=GREY, linestyle=dashes, label=label_of(name))
            axes.set_xscale("log")
            axes.margins(x=0.15)
            axes.xaxis.set_major_locator(FixedLocator([one.devices for one in sizes]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([f"{one.devices:,}" for one in sizes])
            if column == 0:
                axes.set_ylabel(NAMES[metric])
            if row == 0:
                axes.set_title(label.replace(", ", "\n", 1), fontsize="medium")
            else:
                axes.set_xlabel("devices (logarithmic scale)")
    finish(panels)
    legend(figure, panels, sizes, columns=4)
    title(figure, family_heading(sizes))
    name = "-".join(map(slug, ("devices", *sizes[0].family)))
    save(figure, folder, name)
    return Drawn(
        name,
        " ".join(
            [
                *below_floor_sentences(sizes),
                f"Accuracy against the number of devices on {family_title(sizes)}, whole catalogue. "
                f"{split_sentences(sizes)} Error bars show the range over the seeds. Hollow markers are "
                "below the best floor.",
            ]
        ),
        describe_sizes(sizes),
    )


def growing(
    axes: Axes,
    sizes: list[Federation],
    label: str,
    epsilon: float,
    metric: str,
    colour: str,
    marker: str,
) -> None:
    """Draw one model and promise at one ε, over all sizes for which it was run."""
    known = [
        (federation.devices, point, spread)
        for federation in sizes
        for series in federation.all_series
        for point in series.points
        if series.label == label and point.epsilon == epsilon and (spread := point.spread(metric)) is not None
    ]
    axes.errorbar(
        [devices for devices, _, _ in known],
        [spread.mean for _, _, spread in known],
        yerr=[
            [spread.mean - spread.low for _, _, spread in known],
            [spread.high - spread.mean for _, _, spread in known],
        ],
        color=colour, marker=marker, markersize=5, capsize=2, linewidth=1.4,
        label="no promise" if math.isinf(epsilon) else f"ε = {epsilon:g}",
    )  # fmt: skip
    for devices, point, spread in known:
        axes.plot(
            devices, spread.mean, color=colour, marker=marker, markersize=5,
            markerfacecolor=face(point, metric, colour), zorder=3,
        )  # fmt: skip
