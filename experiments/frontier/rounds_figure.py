"""Accuracy against rounds: how long a promise trains until it has what it will have."""

import math
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from experiments.figures import GREY, save
from experiments.frontier.alternatives import describe_rounds
from experiments.frontier.courses import Course, courses
from experiments.frontier.points import Federation, Line, line_label
from experiments.frontier.style import NAMES, WIDTH, Drawn, Look, finish, labels_of, legend, slug, styles


def draw_rounds(folder: Path, runs: Path, sizes: list[Federation]) -> Drawn | None:
    """A column a size, HR@10 above NDCG@10; None where nothing was trained for more than a few rounds."""
    found = {size.devices: [courses(runs, line) for line in size.lines] for size in sizes}
    sizes = [size for size in sizes if any(found[size.devices])]
    if not sizes:
        return None
    figure = pyplot.figure(figsize=(max(WIDTH, 2.6 * len(sizes)), 6.4), layout="constrained")
    panels = figure.subplots(2, len(sizes), sharex="col", sharey="row", squeeze=False)
    looks = styles(labels_of(sizes))
    for column, federation in enumerate(sizes):
        for row, metric in enumerate(("hr@10", "ndcg@10")):
            axes = panels[row, column]
            for line, of_line in zip(federation.lines, found[federation.devices], strict=True):
                for course in of_line:
                    draw_course(axes, line, course, metric, looks[line.label])
            popular = federation.level("popularity", metric)
            if popular is not None:
                axes.axhline(popular, color=GREY, linestyle="--", label="popularity")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            if column == 0:
                axes.set_ylabel(NAMES[metric])
            if row == 0:
                axes.set_title(f"{federation.devices:,} devices", fontsize="medium")
            else:
                axes.set_xlabel("round (logarithmic)")
    finish(panels)
    legend(figure, panels, columns=1)
    figure.suptitle(
        f"{sizes[0].data}; {', '.join(dict.fromkeys(size.deltas for size in sizes))}", fontsize="large"
    )
    name = f"rounds-{slug(sizes[0].data)}"
    save(figure, folder, name)
    return Drawn(
        name,
        f"Accuracy against rounds on {sizes[0].data}, whole catalogue, means of the seeds. ε is that of all "
        "rounds of a run together, with the noise that it sets from the first; dotted: no promise.",
        describe_rounds(sizes[0].data, [(size, found[size.devices]) for size in sizes]),
    )


def draw_course(axes: Axes, line: Line, course: Course, metric: str, look: Look) -> None:
    """One curve: dotted and hollow without a promise."""
    point = course.point
    free = math.isinf(point.epsilon)
    said = line_label(point.of("model"), point.of("variant"), "none", None, None) if free else line.label
    axes.plot(
        course.rounds, course.means[metric], color=look[0], marker=look[1], markersize=4, linewidth=1.4,
        linestyle=":" if free else "-", markerfacecolor="none" if free else look[0],
        label=said if free else f"{said}, ε = {point.epsilon:g}",
    )  # fmt: skip
