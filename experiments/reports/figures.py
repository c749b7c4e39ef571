"""Figures of one run as PNG and SVG, readable in grey and by the colour-blind (Okabe & Ito's palette)."""

from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.baselines.floors import STRONG, best_floor
from terrycloth.experiments.pages.colours import BLUE, GREEN, GREY, INK, ORANGE, PAPER, SHADE
from terrycloth.experiments.pages.drawing import save
from terrycloth.experiments.pages.end_labels import EndLabel, name_ends
from terrycloth.experiments.reports.privacy_plan import PrivacyPlan
from terrycloth.experiments.runs.result import Result
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.models.privacy.promise import rounded_up

DASHED, DOTTED, SPARSE = (0, (6, 1)), (0, (1, 1)), (0, (1, 4))
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
    name_ends(
        panels[0, 0], [EndLabel(name, y, colour) for name, (y, colour, _) in levels_beside(result).items()]
    )
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
        markerfacecolor=PAPER if below else BLUE,
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
    axes.legend(fontsize="small", loc="lower right")
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
        levels[f"{label_of(strong)}, no promise"] = (known[strong], INK, DASHED)
    if "central" in known:
        levels[f"central {result.model}, no promise"] = (known["central"], GREEN, "-.")
    if (ceiling := result.baselines.ceiling.get("history", {}).get("hr@10")) is not None:
        levels["ceiling given the history"] = (ceiling, GREY, SPARSE)
    return levels


def floor_of(result: Result) -> tuple[str, float] | None:
    """Return the name of a run's best floor and its HR@10, or None if no floor was measured."""
    levels = {name: baseline.full["hr@10"] for name, baseline in result.baselines.found.items()}
    return best_floor(levels, private=result.promise.epsilon is not None)
