"""What the figures of a frontier share: size, colours safe for the colour-blind, markers and names."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.evaluation.metric_table import METRICS, SAMPLED_METRICS
from terrycloth.experiments.frontier.points import Federation, Point
from terrycloth.experiments.reports.figures import BLACK, BLUE, DOTTED, GREEN, GREY, ORANGE, WHITE

Look = tuple[str, str]  # a colour and a marker

PURPLE, YELLOW, SKY = "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
MARKERS = "os^DvPX*<>"
HOLLOW = "hollow: below its best floor"
SHADES = ["#00224e", "#163770", "#404c6c", "#5e626e", "#777777", "#948e77", "#b4a76f"]  # from cividis
WIDTH = 7.0  # inches, two columns of a paper
TITLE_CHARACTERS = 11  # how many fit into one inch of a title
NAMES = {name: f"{metric.label}, whole catalogue" for name, metric in METRICS.items()} | {
    f"sampled_{name}": f"{METRICS[name].label}, 99 sampled negatives" for name in SAMPLED_METRICS
}


@dataclass(frozen=True)
class Drawn:
    """One figure: its file name without ending, its caption, and its text alternative."""

    name: str
    caption: str
    alternative: str


def styles(labels: Iterable[str]) -> dict[str, Look]:
    """Assign a colour and a marker to each label; no two of the first thirty share both."""
    return {
        label: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, label in enumerate(dict.fromkeys(labels))
    }


def labels_of(sizes: list[Federation]) -> list[str]:
    """Return the labels of all series in a figure, each once; a label looks the same in every panel."""
    return list(dict.fromkeys(series.label for federation in sizes for series in federation.all_series))


def ladder(epsilons: list[float]) -> list[Look]:
    """Assign each ε a colour, from dark to light, and a marker; no promise is black."""
    finite = sum(math.isfinite(epsilon) for epsilon in epsilons)
    steps = [round(step * (len(SHADES) - 1) / max(1, finite - 1)) for step in range(finite)]
    colours = [SHADES[step] for step in steps] + [BLACK] * (len(epsilons) - finite)
    return [(colour, MARKERS[index % len(MARKERS)]) for index, colour in enumerate(colours)]


def finish(panels: npt.NDArray[Any]) -> None:
    """Add a light grid and start every y axis at zero; call it last, as panels may share an axis."""
    for axes in panels.flat:
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)


def face(point: Point, metric: str, colour: str) -> str:
    """Return the fill colour of the marker of a point; white if the point is below its best floor."""
    return WHITE if point.below(metric) else colour


def nothing_released(axes: Axes, federation: Federation, metric: str) -> None:
    """Draw a line at the accuracy of a device by itself, which keeps every promise."""
    if (level := federation.level(NOTHING_RELEASED, metric)) is not None:
        axes.axhline(level, color=GREY, linestyle=DOTTED, linewidth=1.4, label=label_of(NOTHING_RELEASED))


def legend(figure: Figure, panels: npt.NDArray[Any], sizes: list[Federation], columns: int = 2) -> None:
    """Draw one legend for all panels below them; its title says what trains and what tests."""
    unique: dict[str, Artist] = {}
    for axes in panels.flat:
        handles, labels = axes.get_legend_handles_labels()
        unique |= {label: one for label, one in zip(labels, handles, strict=True) if label not in unique}
    hollow = any(
        len(line.get_xdata()) and line.get_markerfacecolor() == WHITE
        for axes in panels.flat
        for line in axes.lines
    )
    if hollow:
        unique[HOLLOW] = Line2D([], [], color=GREY, marker="o", linestyle="none", markerfacecolor=WHITE)
    box = figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=columns, fontsize="small",
        title=fill(" ".join(dict.fromkeys(size.sentence for size in sizes)), 108), title_fontsize="small",
    )  # fmt: skip
    box.get_title().set_multialignment("left")


def title(figure: Figure, text: str) -> None:
    """Set the title of a figure, wrapped so that the edges do not cut it off."""
    width = int(TITLE_CHARACTERS * figure.get_size_inches()[0])
    figure.suptitle(fill(text, width), fontsize="large")


def slug(text: str) -> str:
    """Turn the label of a data set into a part of a file name."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in text).split())
