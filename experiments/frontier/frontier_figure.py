"""Accuracy against ε: a line a model and promise, a band over its seeds, and level lines beside them."""

import math
from itertools import cycle
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter

from experiments.figures import GREY, save
from experiments.frontier.alternatives import describe_frontier
from experiments.frontier.points import NAMES as BASELINES
from experiments.frontier.points import Federation, Line
from experiments.frontier.style import (
    BLACK,
    LEVELS,
    NAMES,
    PRIVATE,
    WIDTH,
    Drawn,
    Look,
    finish,
    labels_of,
    legend,
    slug,
    styles,
)


def draw_frontier(folder: Path, federation: Federation) -> Drawn:
    """Accuracy against ε: HR@10 above NDCG@10, the whole catalogue before the sampled protocol."""
    figure = pyplot.figure(figsize=(WIDTH, 6.0), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    looks = styles(labels_of([federation]))
    place = places([point.epsilon for line in federation.lines for point in line.points])
    for column, prefix in enumerate(("", "sampled_")):
        for row, name in enumerate(("hr@10", "ndcg@10")):
            metric, axes = prefix + name, panels[row, column]
            levels(axes, federation, metric, looks)
            for baseline, (short, markers) in PRIVATE.items():
                for curve, marker in zip(federation.curves(baseline), cycle(markers), strict=False):
                    name = f"{short}, {curve.points[0].of('unit')}"
                    private_curve(axes, curve, name, marker, f"{baseline}_{metric}", place)
            for line in federation.lines:
                band(axes, line, metric, place, *looks[line.label])
            axes.set_title(NAMES[metric], fontsize="medium")
            axes.margins(y=0.08)  # for the names at the lines
            if row == 1:
                epsilon_axis(axes, place)
    finish(panels)
    legend(figure, panels)
    figure.suptitle(f"{federation.title}; {federation.deltas}", fontsize="large")
    name = f"frontier-{slug(federation.data)}-{federation.devices}"
    save(figure, folder, name)
    return Drawn(
        name,
        f"Accuracy against ε on {federation.title}; {federation.deltas}. Bands: the least and the greatest "
        "of the seeds. ∞: the same model, federated, without a promise, with the settings that it then has. "
        "Black and grey: baselines; a private one keeps the promise that it stands at.",
        describe_frontier(federation),
    )


def levels(axes: Axes, federation: Federation, metric: str, looks: dict[str, Look]) -> None:
    """Level lines for what the results are held against."""
    popular = federation.level("popularity", metric)
    if popular is not None:
        axes.axhline(popular, color=GREY, linestyle="--", linewidth=1.2, label="popularity")
    for baseline, (style, side) in LEVELS.items():
        if (level := federation.level(baseline, metric)) is not None:
            label = f"{BASELINES[baseline]}, not private"
            axes.axhline(level, color=BLACK, linestyle=style, linewidth=1.0, label=label)
            written(axes, BASELINES[baseline], side, level)
    first = {line.model: line for line in reversed(federation.lines)}  # of each model, for its colour
    for model in dict.fromkeys(line.model for line in federation.lines):
        if (central := federation.level("central", metric, model)) is not None:
            axes.axhline(
                central, color=looks[first[model].label][0], linestyle="-.", linewidth=1.2, alpha=0.8,
                label=f"central {model}, not private",
            )  # fmt: skip
    if not metric.startswith("sampled_") and (ceiling := federation.level("ceiling", metric)) is not None:
        axes.axhline(ceiling, color=GREY, linestyle=":", linewidth=1.6, label="ceiling given the history")


def written(axes: Axes, text: str, side: str, level: float) -> None:
    """A name below its level line, at the left or the right end."""
    axes.annotate(
        text, (0.01 if side == "left" else 0.99, level), xycoords=("axes fraction", "data"), ha=side,
        va="top", xytext=(0, -2), textcoords="offset points", fontsize="x-small",
    )  # fmt: skip


def private_curve(
    axes: Axes, curve: Line, name: str, marker: str, metric: str, place: dict[float, float]
) -> None:
    """A baseline that keeps each point's promise: the means of the seeds, with its name at the first."""
    means = [(point.epsilon, point.mean(metric)) for point in curve.points]
    known = [(place[epsilon], mean) for epsilon, mean in means if mean is not None]
    axes.plot(
        *zip(*known, strict=True), color=GREY, marker=marker, markersize=5, linestyle=(0, (1, 1)),
        linewidth=1.0, label=curve.label,
    )  # fmt: skip
    axes.annotate(
        name, known[0], textcoords="offset points", xytext=(-4, -10), fontsize="x-small", color=GREY
    )  # fmt: skip


def band(axes: Axes, line: Line, metric: str, place: dict[float, float], colour: str, marker: str) -> None:
    """The means, and between the least and the greatest of the seeds a band; dotted on to no promise."""
    known = [
        (place[point.epsilon], spread)
        for point in line.points
        if (spread := point.spread(metric)) is not None
    ]
    xs, spreads = [x for x, _ in known], [spread for _, spread in known]
    means = [spread.mean for spread in spreads]
    private = sum(math.isfinite(point.epsilon) for point in line.points)
    axes.fill_between(
        xs, [spread.low for spread in spreads], [spread.high for spread in spreads],
        color=colour, alpha=0.2, linewidth=0,
    )  # fmt: skip
    axes.plot(xs[:private], means[:private], color=colour, linewidth=1.6)
    axes.plot(xs[max(private - 1, 0) :], means[max(private - 1, 0) :], color=colour, linestyle=":")
    axes.plot(xs, means, color=colour, marker=marker, markersize=5, linestyle="none", label=line.label)


def places(epsilons: list[float]) -> dict[float, float]:
    """Where each ε is on the axis: its logarithm, and ∞ one step and a half further to the right."""
    finite = sorted({epsilon for epsilon in epsilons if math.isfinite(epsilon)})
    logarithms = {epsilon: math.log2(epsilon) for epsilon in finite}
    last = logarithms[finite[-1]] if finite else 0.0
    step = (last - logarithms[finite[0]]) / (len(finite) - 1) if len(finite) > 1 else 1.0
    return {**logarithms, math.inf: last + 1.5 * step}


def epsilon_axis(axes: Axes, place: dict[float, float]) -> None:
    """The ε that were run, ∞ at the right end."""
    axes.xaxis.set_major_locator(FixedLocator(list(place.values())))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticklabels(["∞" if math.isinf(epsilon) else f"{epsilon:g}" for epsilon in place])
    axes.set_xlabel("ε (logarithmic; ∞: no promise)")
