"""Figures of one run, as PNG and SVG, readable in grey and by the colour-blind (Okabe & Ito's palette)."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.baselines import is_floor, label_of
from experiments.privacy_plan import PrivacyPlan
from experiments.result import Result
from experiments.run_folder import RunFolder
from models.promise import rounded_up

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
DASHES: list[Any] = ["--", "-.", (0, (1, 1, 5, 1)), (0, (5, 1)), (0, (8, 2, 2, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1))]


def draw_run(folder: RunFolder, rows: list[dict[str, Any]], result: Result) -> None:
    """accuracy: HR@10 over the rounds beside its baselines; under a promise, ε as it is spent below it."""
    private = result.promise.epsilon is not None
    figure = pyplot.figure(figsize=(6.4, 5.2 if private else 4.0), layout="constrained")
    panels = figure.subplots(
        2 if private else 1, height_ratios=[3, 1] if private else [1], sharex=True, squeeze=False
    )
    draw_accuracy(panels[0, 0], rows, result)
    if private:
        draw_spending(panels[1, 0], rows)
    panels[-1, 0].set_xlabel("round")
    panels[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, folder.figures, "accuracy")


def draw_spending(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """ε of a device that took part in every round so far."""
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
    """epsilon: what is spent as rounds go by, up to the promise."""
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
    """Full-ranking HR@10 round by round, with level lines for what it should be held against."""
    measured = [row for row in rows if row.get("hr@10") not in (None, "")]
    axes.plot(
        [int(row["round"]) for row in measured],
        [float(row["hr@10"]) for row in measured],
        color=BLUE,
        marker="o",
        markersize=4,
        label=f"federated {result.model}",
    )
    levels: dict[str, tuple[float | None, str, Any]] = {
        ", ".join(filter(None, [label_of(name), "same promise" if baseline.promise else ""])): (
            baseline.full["hr@10"],
            GREEN if name == "central" else ORANGE if is_floor(name) else GREY,
            DASHES[number % len(DASHES)],
        )
        for number, (name, baseline) in enumerate(result.baselines.found.items())
    }
    if "history" in result.baselines.ceiling:
        levels["ceiling given the history"] = (result.baselines.ceiling["history"]["hr@10"], GREY, ":")
    for label, (level, colour, style) in levels.items():
        if level is not None:
            axes.axhline(level, color=colour, linestyle=style, label=label)
    axes.set(
        ylabel="HR@10, whole catalogue",
        title=f"{result.data.name} by {result.data.split}: {result.data.devices:,} devices, "
        f"{result.data.items:,} items\n{result.label}",
    )
    axes.set_ylim(bottom=0)
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small", loc="best")
    axes.grid(alpha=0.3)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Both formats, without the time of day, so that equal runs give equal files."""
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
