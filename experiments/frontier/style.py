"""What the figures of a frontier share: size, colours (for the colour-blind too), markers and names."""

import math
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import BLUE, GREEN, ORANGE
from experiments.frontier.points import Line

PURPLE, YELLOW, SKY = "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
MARKERS = "os^DvPX*<>"
BLACK = "#000000"
# Baselines have no colour. A dash, and at which end the name is; or a name, and a marker a promise.
LEVELS = {"ease": ((0, (6, 1)), "left"), "ials": ((0, (7, 2, 1, 2, 1, 2)), "right")}
PRIVATE = {"private_popularity": ("private pop.", "x+12"), "flower": ("Flower's DP", "*348")}
SHADES = ["#00224e", "#163770", "#404c6c", "#5e626e", "#777777", "#948e77", "#b4a76f"]  # of cividis
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
    """A colour and a marker a line; no two have both, up to thirty lines."""
    return [(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]) for index in range(len(lines))]


def ladder(epsilons: list[float]) -> list[tuple[str, str]]:
    """A colour and a marker an ε, the colours from dark to light; black where there is no promise."""
    finite = sum(math.isfinite(epsilon) for epsilon in epsilons)
    steps = [round(step * (len(SHADES) - 1) / max(1, finite - 1)) for step in range(finite)]
    colours = [SHADES[step] for step in steps] + [BLACK] * (len(epsilons) - finite)
    return [(colour, MARKERS[index % len(MARKERS)]) for index, colour in enumerate(colours)]


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
