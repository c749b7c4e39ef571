"""What the figures of a frontier share: size, colours (for the colour-blind too), markers and names."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from experiments.figures import BLUE, GREEN, ORANGE
from experiments.frontier.points import Line

PURPLE, YELLOW, SKY = "#CC79A7", "#E69F00", "#56B4E9"
STYLES = [(BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (YELLOW, "v"), (SKY, "P")]
MARKERS = "os^DvPX*<>"
WIDTH = 7.0  # inches, a paper's two columns
NAMES = {
    "hr@10": "HR@10, whole catalogue",
    "ndcg@10": "NDCG@10, whole catalogue",
    "sampled_hr@10": "HR@10, 99 sampled negatives",
    "sampled_ndcg@10": "NDCG@10, 99 sampled negatives",
}


@dataclass(frozen=True)
class Drawn:
    """One figure: its file name without an ending, a caption, and what it shows in words."""

    name: str
    caption: str
    alternative: str


def styles(lines: list[Line]) -> list[tuple[str, str]]:
    """A colour and a marker a line."""
    return [STYLES[index % len(STYLES)] for index in range(len(lines))]


def ladder(steps: int) -> list[tuple[str, str]]:
    """Colours from dark to light, even to the colour-blind, and markers, for ε from small to none."""
    colours = pyplot.get_cmap("cividis")
    shades = [to_hex(colours(0.85 * step / max(1, steps - 1))) for step in range(steps)]
    return [(shade, MARKERS[step % len(MARKERS)]) for step, shade in enumerate(shades)]


def finish(panels: npt.NDArray[Any]) -> None:
    """A light grid, and every panel from zero, once all is drawn: panels may share an axis."""
    for axes in panels.flat:
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)


def legend(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """One legend for all panels, below them."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, fontsize="small")


def slug(text: str) -> str:
    """A data set's label as part of a file name."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in text).split())
