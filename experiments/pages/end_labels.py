"""Name lines at their ends instead of in a legend."""

import re
from dataclasses import dataclass
from textwrap import wrap

from matplotlib.axes import Axes

TOP = 1.03  # how high labels may reach, as a share of the panel's height


@dataclass(frozen=True)
class EndLabel:
    """The name of a line.

    y: the height of its end. x: where it ends; None: at the axes' right edge. before: the height before the
    end, by which names of lines that end together are ordered.
    """

    text: str
    y: float
    colour: str
    x: float | None = None
    before: float = 0.0


def name_ends(axes: Axes, labels: list[EndLabel], size: float = 7.0, characters: int = 18) -> None:
    """Label lines at their right ends, outside the panel, where nothing crosses the text.

    Labels of lines that are close together are moved apart, and a thin line connects each with its own.
    size: of the font, in points. characters: of a line of text. Call this after everything else is drawn
    and the limits are set.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # which places the axes
    inches = axes.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    width, height = inches.width * 72, inches.height * 72  # points
    labels = sorted(labels, key=lambda label: (label.y, label.before))
    texts = ["\n".join(wrapped(label.text, characters)) for label in labels]
    line = 1.25 * size / height
    halves = [line * (1 + text.count("\n")) / 2 for text in texts]
    across = axes.transAxes.inverted()
    ends = [
        across.transform(
            axes.transData.transform((axes.get_xlim()[1] if label.x is None else label.x, label.y))
        )
        for label in labels
    ]
    places = apart([float(end[1]) for end in ends], halves)
    gap = size / width
    for label, text, place, end in zip(labels, texts, places, ends, strict=True):
        axes.plot(
            [1.0 if label.x is None else float(end[0]), 1.0 + 0.8 * gap], [float(end[1]), place],
            transform=axes.transAxes, color=label.colour, linewidth=0.6, clip_on=False,
        )  # fmt: skip
        axes.text(
            1.0 + gap, place, text, transform=axes.transAxes, va="center", ha="left", fontsize=size,
            color=label.colour, linespacing=1.0,
        )  # fmt: skip


def wrapped(text: str, characters: int) -> list[str]:
    """Split a long text after its commas and colons, and each part between words."""
    parts = [text] if len(text) <= characters else re.split(r"(?<=[,:]) ", text)
    return [line for part in parts for line in wrap(part, characters, break_on_hyphens=False)]


def apart(wanted: list[float], halves: list[float]) -> list[float]:
    """Return positions as near as possible to the wanted ones (ascending), without overlap, from 0 to `TOP`.

    halves: half of the height of each label. If they do not fit, they reach beyond the top.
    """
    groups: list[tuple[float, float, list[int]]] = []  # middle, half height and members
    for number, (place, half) in enumerate(zip(wanted, halves, strict=True)):
        middle, tall, members = bounded(place, half), half, [number]
        while groups and groups[-1][0] + groups[-1][1] > middle - tall:
            before, taller, others = groups.pop()
            count = len(others) + len(members)
            middle = (before * len(others) + middle * len(members)) / count
            tall, members = tall + taller, others + members
            middle = bounded(middle, tall)
        groups.append((middle, tall, members))
    places = [0.0] * len(wanted)
    for middle, tall, members in groups:
        bottom = middle - tall
        for number in members:
            places[number] = bottom + halves[number]
            bottom += 2 * halves[number]
    return places


def bounded(middle: float, half: float) -> float:
    """Return the middle of a group of labels that reaches neither below 0 nor, if it fits, above `TOP`."""
    return max(min(middle, TOP - half), half)
