"""Accuracy against what a device sends over all rounds."""

import math
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes

from experiments.figures import GREY, save
from experiments.frontier.alternatives import describe_bytes
from experiments.frontier.points import Federation, Line
from experiments.frontier.style import NAMES, WIDTH, Drawn, finish, labels_of, legend, slug, styles


def draw_bytes(folder: Path, sizes: list[Federation]) -> Drawn:
    """A column a size, HR@10 above NDCG@10; hollow: without a promise."""
    figure = pyplot.figure(figsize=(max(WIDTH, 2.6 * len(sizes)), 5.4), layout="constrained")
    panels = figure.subplots(2, len(sizes), sharex=True, sharey="row", squeeze=False)
    looks = styles(labels_of(sizes))
    for column, federation in enumerate(sizes):
        for row, metric in enumerate(("hr@10", "ndcg@10")):
            axes = panels[row, column]
            for line in federation.lines:
                trail(axes, line, metric, *looks[line.label])
            popular = federation.level("popularity", metric)
            if popular is not None:
                axes.axhline(popular, color=GREY, linestyle="--", label="popularity")
            axes.set_xscale("log")
            axes.margins(x=0.25, y=0.1)
            if column == 0:
                axes.set_ylabel(NAMES[metric])
            if row == 0:
                axes.set_title(f"{federation.devices:,} devices", fontsize="medium")
            else:
                axes.set_xlabel("bytes a device sends, all rounds")
    finish(panels)
    legend(figure, panels)
    figure.suptitle(
        f"{sizes[0].data}; {', '.join(dict.fromkeys(size.deltas for size in sizes))}", fontsize="large"
    )
    name = f"bytes-{slug(sizes[0].data)}"
    save(figure, folder, name)
    return Drawn(
        name,
        f"Accuracy against what a device sends on {sizes[0].data}, whole catalogue, means of the seeds. The "
        "least and the greatest ε of each line are written beside it; hollow: no promise.",
        describe_bytes(sizes),
    )


def trail(axes: Axes, line: Line, metric: str, colour: str, marker: str) -> None:
    """One line's points by rising ε; only its ends say which, so that near points stay readable."""
    known = [
        (point.epsilon, float(point.of("bytes_up_per_device")), mean)
        for point in line.points
        if (mean := point.mean(metric)) is not None
    ]
    private = [place for place in known if math.isfinite(place[0])]
    for places, face in ((private, colour), ([place for place in known if place not in private], "none")):
        axes.plot(
            [sent for _, sent, _ in places], [mean for _, _, mean in places],
            color=colour, marker=marker, markerfacecolor=face, markersize=6, linewidth=1,
            label=line.label if places is private or not private else None,
        )  # fmt: skip
    beside = dict.fromkeys(private[:1], -10) | dict.fromkeys(private[1:][-1:], 4)
    for (epsilon, sent, mean), above in beside.items():
        axes.annotate(
            f"ε = {epsilon:g}", (sent, mean), textcoords="offset points", xytext=(-6, above), ha="right",
            fontsize="small",
        )  # fmt: skip
