"""What the figures of a frontier share: size, colours (for the colour-blind too), markers and names."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from experiments.figures import BLUE, GREEN, ORANGE
from experiments.frontier.points import Federation

Look = tuple[str, str]  # a colour and a marker

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


def styles(labels: Iterable[str]) -> dict[str, Look]:
    """A colour and a marker by a line's label; no two have both, up to thirty lines."""
    return {
        label: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, label in enumerate(dict.fromkeys(labels))
    }


def labels_of(sizes: list[Federation]) -> list[str]:
    """Of all lines of the panels of a figure, in which a label looks the same everywhere; each once."""
    return list(dict.fromkeys(line.label for federation in sizes for line in federation.lines))


def ladder(epsilons: list[float]) -> list[Look]:
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


def legend(figure: Figure, panels: npt.NDArray[Any], columns: int = 2) -> None:
    """One legend for all panels, below them: what is in any of them, once."""
    unique: dict[str, Artist] = {}
    for axes in panels.flat:
        handles, labels = axes.get_legend_handles_labels()
        unique |= {label: one for label, one in zip(labels, handles, strict=True) if label not in unique}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, fontsize="small")


def slug(text: str) -> str:
    """A data set's label as part of a file name."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in text).split())
