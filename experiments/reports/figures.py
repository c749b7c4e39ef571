"""Figures of one run as PNG and SVG, readable in grey and by the colour-blind (Okabe & Ito's palette)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

import matplotlib

if "inline" not in os.environ.get("MPLBACKEND", ""):  # a notebook shows its reader's own charts
    matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.baselines.floors import STRONG, best_floor
from terrycloth.experiments.reports.privacy_plan import PrivacyPlan
from terrycloth.experiments.runs.result import Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.models.privacy.promise import rounded_up

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
BLACK, WHITE, SHADE = "#000000", "#ffffff", "#e4e4e4"
DASHED, DOTTED, SPARSE = (0, (6, 1)), (0, (1, 1)), (0, (1, 4))
THREAD = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0}
Level = tuple[float, str, Any]  # a horizontal line: its height, colour and dashes


def draw_run(folder: RunFolder, rows: list[dict[str, Any]], result: Result) -> None:
    """Draw the figure `accuracy`: HR@10 over the rounds, with its baselines.

    Under a promise, a second panel shows ε as it is spent.
    """
    private = result.promise.epsilon is not None
    figure = pyplot.figure(figsize=(6.4, 5.2 if private else 4.0), layout="constrained")
    panels = figure.subplots(
        2 if private else 1, height_ratios=[3, 1] if private else [1], sharex=True, squeeze=False
    )
    draw_accuracy(panels[0, 0], rows, result)
    if private:
        draw_spending(panels[1, 0], rows)
    panels[-1, 0].set_xlabel("round\n" + fill(result.data.split_sentence, 84))
    panels[-1, 0].xaxis.label.set_fontsize("small")
    panels[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    name_levels(panels[0, 0], {name: level[:2] for name, level in levels_beside(result).items()})
    save(figure, folder.figures, "accuracy")


def draw_spending(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw ε over the rounds, for a device that took part in every round so far."""
    axes.plot(
        [int(row["round"]) for row in rows],
        [float(row["epsilon"]) for row in rows],
        color=GREY,
        marker="s",
        markersize=3,
    )
    axes.set(ylabel="ε spent")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def draw_plan(folder: Path, plan: PrivacyPlan) -> None:
    """Draw the figure `epsilon`: ε spent over the rounds, up to the promise."""
    figure = pyplot.figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    rounds, spent = zip(*plan.spending, strict=True)
    axes.plot(rounds, spent, color=BLUE, marker="o", markersize=4, label="spent so far")
    axes.axhline(spent[-1], color=ORANGE, linestyle="--", label=f"promised: ε = {rounded_up(spent[-1])}")
    axes.set(
        xlabel="round",
        ylabel="ε spent",
        title=f"{plan.config.devices:,} devices, noise multiplier {plan.config.noise_multiplier:.4g}\n"
        f"{plan.promise.label}",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small", loc="lower right")
    axes.grid(alpha=0.3)
    save(figure, folder, "epsilon")


def draw_accuracy(axes: Axes, rows: list[dict[str, Any]], result: Result) -> None:
    """Draw HR@10 over the whole catalogue round by round, with horizontal lines for baselines."""
    measured = [row for row in rows if row.get("hr@10") not in (None, "")]
    floor, own = floor_of(result), result.metrics.full["hr@10"]
    below = floor is not None and own is not None and own < floor[1]
    axes.plot(
        [int(row["round"]) for row in measured],
        [float(row["hr@10"]) for row in measured],
        color=BLUE,
        marker="o",
        markersize=4,
        markerfacecolor=WHITE if below else BLUE,
        label=f"federated {result.model}" + (", which ends below its floor" if below else ""),
    )
    if floor is not None:
        axes.axhspan(0, floor[1], color=SHADE, zorder=0, linewidth=0, label=f"below {label_of(floor[0])}")
    for level, colour, style in levels_beside(result).values():
        axes.axhline(level, color=colour, linestyle=style, linewidth=1.2)
    axes.set(
        ylabel="HR@10, whole catalogue",
        title=f"{result.data.name} by {result.data.split}: {result.data.devices:,} devices, "
        f"{result.data.items:,} items\n{result.label}",
    )
    axes.set_ylim(bottom=0)
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small", loc="best")
    axes.grid(alpha=0.3)


def levels_beside(result: Result) -> dict[str, Level]:
    """Return the lines to draw, by label.

    The figure has room for the best floor, nothing released, the best strong baseline, central and ceiling.
    """
    known = {
        name: level
        for name, baseline in result.baselines.found.items()
        if (level := baseline.full["hr@10"]) is not None
    }
    levels: dict[str, Level] = {}
    if (floor := floor_of(result)) is not None:
        levels[label_of(floor[0])] = (floor[1], GREY, "-")
    if NOTHING_RELEASED in known and (floor is None or floor[0] != NOTHING_RELEASED):
        levels[label_of(NOTHING_RELEASED)] = (known[NOTHING_RELEASED], GREY, DOTTED)
    strong = max((name for name in STRONG if name in known), key=lambda name: known[name], default=None)
    if strong is not None:
        levels[f"{label_of(strong)}, no promise"] = (known[strong], BLACK, DASHED)
    if "central" in known:
        levels[f"central {result.model}, no promise"] = (known["central"], GREEN, "-.")
    if (ceiling := result.baselines.ceiling.get("history", {}).get("hr@10")) is not None:
        levels["ceiling given the history"] = (ceiling, GREY, SPARSE)
    return levels


def floor_of(result: Result) -> tuple[str, float] | None:
    """Return the name of a run's best floor and its HR@10, or None if no floor was measured."""
    levels = {name: baseline.full["hr@10"] for name, baseline in result.baselines.found.items()}
    return best_floor(levels, private=result.promise.epsilon is not None)


def name_levels(axes: Axes, levels: Mapping[str, tuple[float, str]], size: float = 7.0) -> None:
    """Label horizontal lines at their right ends, outside the panel, where nothing crosses the text.

    Labels of lines that are close together are moved apart, and a thin line connects each with its own.
    levels: height and colour by label. Call this after everything else is drawn and the limits are set.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    height = axes.get_window_extent().height / figure.dpi * 72  # points
    low, high = axes.get_ylim()
    names = sorted(levels, key=lambda name: levels[name][0])
    texts = ["\n".join(part for piece in pieces(name) for part in wrap(piece, 18)) for name in names]
    line = 1.25 * size / height
    halves = [line * (1 + text.count("\n")) / 2 for text in texts]
    wanted = [(levels[name][0] - low) / (high - low) for name in names]
    for name, text, place, end in zip(names, texts, apart(wanted, halves), wanted, strict=True):
        axes.annotate(
            text, (1.0, end), xycoords="axes fraction", xytext=(1.035, place), textcoords="axes fraction",
            va="center", ha="left", fontsize=size, color=levels[name][1], annotation_clip=False,
            linespacing=1.0, arrowprops={"color": levels[name][1]} | THREAD,
        )  # fmt: skip


def pieces(name: str) -> list[str]:
    """Split a long name after its commas and colons."""
    return [name] if len(name) <= 18 else re.split(r"(?<=[,:]) ", name)


def apart(wanted: list[float], halves: list[float]) -> list[float]:
    """Return positions as near as possible to the wanted ones (ascending), without overlap.

    halves: half of the height of each label.
    """
    groups: list[tuple[float, float, list[int]]] = []  # middle, half height and members
    for number, (place, half) in enumerate(zip(wanted, halves, strict=True)):
        middle, tall, members = place, half, [number]
        while groups and groups[-1][0] + groups[-1][1] > middle - tall:
            before, taller, others = groups.pop()
            count = len(others) + len(members)
            middle = (before * len(others) + middle * len(members)) / count
            tall, members = tall + taller, others + members
        groups.append((middle, tall, members))
    places = [0.0] * len(wanted)
    for middle, tall, members in groups:
        bottom = middle - tall
        for number in members:
            places[number] = bottom + halves[number]
            bottom += 2 * halves[number]
    return places


def save(figure: Figure, folder: Path, name: str) -> None:
    """Save PNG and SVG without the time, so that equal runs give equal files."""
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
