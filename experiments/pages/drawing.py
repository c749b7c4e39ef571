"""Draw charts with matplotlib: as SVG inside a page, and as PNG and SVG for a paper.

Altair was tried as well. Its inlined scripts take 0.9 MB of a page and `eval`, its wheels 90 MB, and no value
can be reached by keyboard. matplotlib draws the papers' pictures anyway, its SVG prints at any width, and a
short script shows the values (`page.js`).
"""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from textwrap import fill, wrap

import matplotlib

if "inline" not in os.environ.get("MPLBACKEND", ""):  # a notebook shows its reader's own charts
    matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from terrycloth.experiments.pages.chart import Chart, Line
from terrycloth.experiments.pages.colours import COLOURS, GREY, LINE, PAPER, SERIES, SHADE
from terrycloth.experiments.pages.end_labels import EndLabel, name_ends, wrapped

MARKERS = "os^DvP"


@dataclass(frozen=True)
class Size:
    """The size of a picture and of its text, in points; characters of a line's name before it wraps."""

    width: float
    height: float
    text: float
    characters: int


WIDE = Size(832, 365, 14, 24)  # as wide as the text of a page; a point is a pixel
NARROW = Size(358, 380, 12.5, 14)  # a phone
PAPER_WIDTH = 504  # 7 inches, two columns of a paper
PAPER_TEXT = 8
PANEL_HEIGHT = 185


@dataclass(frozen=True)
class Picture:
    """A chart as an <svg> element, and where its values are.

    xs: the place of each of the chart's `xs`; top, bottom: those of its axes; as shares of the picture.
    """

    svg: str
    xs: list[float]
    top: float
    bottom: float


def picture(chart: Chart, size: Size, suffix: str) -> Picture:
    """Draw a chart for a page. suffix: tells the ids of one size from those of another."""
    figure = pyplot.figure(figsize=(size.width / 72, size.height / 72))
    axes = panel(figure, chart, size)
    draw(axes, chart, size)
    svg = inline(svg_of(figure, chart.name), f"{chart.name}-{suffix}")
    across = (axes.transData + figure.transFigure.inverted()).transform
    xs = [float(across((x, 0.0))[0]) for x in chart.xs]
    pyplot.close(figure)
    return Picture(svg, xs, 1 - axes.get_position().y1, 1 - axes.get_position().y0)


def panel(figure: Figure, chart: Chart, size: Size, left: float = 0.0, bottom: float = 0.0) -> Axes:
    """Add axes to a figure, with room for a chart's labels, in a box of a size at a place in points."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    names = [part for label in end_labels(chart) for part in wrapped(label.text, size.characters)]
    # In heights of the text: what lies to the right, to the left, below and above the axes.
    right = 1.5 + 0.6 * max(map(len, names), default=0)
    start = 1.5 + 0.62 * len(chart.form.format(0.0))
    under = 3.2 + 1.2 * max((text.count("\n") for text in chart.ticks.values()), default=0)
    above = 0.7 + 1.25 * len(heading(chart.y_label, size))
    under += 1.2 * (len(heading(chart.x_label, size)) - 1)
    return figure.add_axes(
        (
            (left + start * size.text) / width,
            (bottom + under * size.text) / height,
            (size.width - (start + right) * size.text) / width,
            (size.height - (under + above) * size.text) / height,
        )
    )


def save_for_paper(panels: Sequence[Sequence[Chart]], title: str, note: str, folder: Path, name: str) -> None:
    """Save rows of charts as one figure of two columns' width, as PNG and SVG.

    title: above all charts. note: below them: what trains and what tests.
    """
    columns = len(panels[0])
    size = Size(PAPER_WIDTH / columns, PANEL_HEIGHT, PAPER_TEXT, 22 if columns == 1 else 13)
    titles, notes = wrap(title, 96), wrap(note, 124)
    line = 1.3 * PAPER_TEXT
    above, below = line * (len(titles) + 1), line * (len(notes) + 1)
    height = above + PANEL_HEIGHT * len(panels) + below
    figure = pyplot.figure(figsize=(PAPER_WIDTH / 72, height / 72))
    for row, charts in enumerate(reversed(panels)):
        for column, chart in enumerate(charts):
            place = column * size.width, below + row * PANEL_HEIGHT
            draw(panel(figure, chart, size, *place), chart, size)
    edge = PAPER_TEXT / PAPER_WIDTH
    figure.text(
        edge, 1 - line / 2 / height, "\n".join(titles), fontsize=PAPER_TEXT + 1, va="top", weight="bold"
    )
    figure.text(edge, line / 2 / height, "\n".join(notes), fontsize=PAPER_TEXT - 1, va="bottom", color=GREY)
    save(figure, folder, name)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Save PNG and SVG without the time, so that equal runs give equal files."""
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
    (folder / f"{name}.svg").write_text(svg_of(figure, name), encoding="utf-8")
    pyplot.close(figure)


def svg_of(figure: Figure, name: str) -> str:
    """Return a figure as SVG, with its text as text; equal figures give equal texts."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def inline(text: str, prefix: str) -> str:
    """Return the <svg> element for a page: with unique ids, and the colours of the stylesheet."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for name, (light, _) in COLOURS.items():
        svg = re.sub(light, f"var(--{name})", svg, flags=re.IGNORECASE)
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def draw(axes: Axes, chart: Chart, size: Size) -> None:
    """Draw a chart: its floor, its levels, its lines from grey to colour, and their names."""
    axes.set_axisbelow(True)
    if chart.log_x:
        axes.set_xscale("log")
    for step in chart.floor:
        axes.fill_between(
            [step.start, step.end], 0.0, step.y, facecolor=SHADE, edgecolor=SHADE, linewidth=0.6, zorder=0
        )
        axes.plot([step.start, step.end], [step.y, step.y], color=GREY, linewidth=1.6, zorder=1.5)
    for level in chart.levels:
        axes.axhline(level.y, color=GREY, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1.6)
    looks = looks_of(chart)
    for line in sorted(chart.lines, key=lambda one: one.private):
        draw_line(axes, line, *looks[line.label], size)
    draw_axes(axes, chart, size)
    name_ends(axes, end_labels(chart), size.text, size.characters)


def looks_of(chart: Chart) -> dict[str, tuple[str, str]]:
    """Return the colour and the marker of each line by its label; lines without a promise are grey."""
    private = [line.label for line in chart.lines if line.private]
    loose = [line.label for line in chart.lines if not line.private and not line.joined]
    colours = dict(zip(private, cycle(SERIES), strict=False))
    markers = {
        label: marker
        for labels in (private, loose)
        for label, marker in zip(labels, cycle(MARKERS), strict=False)
    }
    return {line.label: (colours.get(line.label, GREY), markers.get(line.label, ".")) for line in chart.lines}


def draw_line(axes: Axes, line: Line, colour: str, marker: str, size: Size) -> None:
    """Draw a line, the band of its seeds, and its marks; hollow below the floor, dotted to a mark apart."""
    joined = [mark for mark in line.marks if not mark.apart]
    if line.joined:
        banded = [mark for mark in line.marks if mark.low is not None and mark.high is not None]
        axes.fill_between(
            [mark.x for mark in banded],
            [mark.low for mark in banded if mark.low is not None],
            [mark.high for mark in banded if mark.high is not None],
            color=colour, alpha=0.18, linewidth=0, zorder=2,
        )  # fmt: skip
    width = size.text / 6 if line.private else size.text / 10
    if line.joined:
        axes.plot(
            [mark.x for mark in joined], [mark.y for mark in joined], color=colour, linewidth=width,
            linestyle=(0, (4, 2)) if line.dashed else "-", zorder=3,
        )  # fmt: skip
    for before, mark in zip(line.marks[:-1], line.marks[1:], strict=True):
        if mark.apart:
            axes.plot(
                [before.x, mark.x], [before.y, mark.y], color=colour, linestyle=":", linewidth=width, zorder=3
            )
    for mark in line.marks:
        axes.plot(
            mark.x, mark.y, color=colour, marker=marker, markersize=size.text / 2,
            markerfacecolor=PAPER if mark.hollow else colour, zorder=4,
        )  # fmt: skip


def draw_axes(axes: Axes, chart: Chart, size: Size) -> None:
    """Draw the axes from zero, with light horizontal lines only, and the unit above them."""
    axes.set_ylim(bottom=0, top=None)
    axes.margins(x=0.03)
    if chart.floor:
        axes.set_xlim(min(step.start for step in chart.floor), max(step.end for step in chart.floor))
    if chart.ticks:
        axes.xaxis.set_major_locator(FixedLocator(list(chart.ticks)))
        axes.set_xticks(list(chart.ticks), labels=list(chart.ticks.values()))
        axes.xaxis.set_minor_locator(NullLocator())
    elif not chart.log_x:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(labelsize=size.text * 0.93, colors=GREY, length=0, pad=size.text / 3)
    axes.tick_params(axis="x", length=size.text / 4)
    axes.set_title("\n".join(heading(chart.y_label, size)), loc="left", fontsize=size.text * 0.93, color=GREY)
    axes.set_xlabel("\n".join(heading(chart.x_label, size)), fontsize=size.text * 0.93, color=GREY)
    if chart.floor and chart.floor_label:
        room = int(size.width / size.text * 1.1)
        axes.annotate(
            fill(chart.floor_label[0].upper() + chart.floor_label[1:], room), (0, 0),
            xycoords="axes fraction", xytext=(size.text / 2, size.text / 2), textcoords="offset points",
            fontsize=size.text * 0.93, color=GREY, va="bottom", zorder=5,
        )  # fmt: skip


def heading(text: str, size: Size) -> list[str]:
    """Return the lines of an axis's label."""
    return wrap(text, int(1.6 * size.width / size.text))


def end_labels(chart: Chart) -> list[EndLabel]:
    """Return the names of the lines and levels, each at the last of a line's values that are joined."""
    looks = looks_of(chart)
    labels = [EndLabel(level.label, level.y, GREY) for level in chart.levels]
    for line in chart.lines:
        joined = [mark for mark in line.marks if not mark.apart] or line.marks
        *_, before, last = (joined[0], *joined)
        labels.append(EndLabel(line.label, last.y, looks[line.label][0], last.x, before.y))
    return labels
