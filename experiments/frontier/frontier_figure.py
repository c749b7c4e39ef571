"""The figure of accuracy against ε.

It has one line per model and promise, with a band over its seeds, and shows floors and other baselines.
"""

import math
from itertools import pairwise
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.frontier.alt_text import below_floor_sentences, describe_frontier
from terrycloth.experiments.frontier.findings import joined
from terrycloth.experiments.frontier.points import Federation, Series
from terrycloth.experiments.frontier.style import (
    NAMES,
    WIDTH,
    Drawn,
    Look,
    face,
    finish,
    labels_of,
    legend,
    slug,
    styles,
    title,
)
from terrycloth.experiments.reports.figures import (
    BLACK,
    DASHED,
    DOTTED,
    GREY,
    SHADE,
    SPARSE,
    Level,
    name_levels,
    save,
)


def draw_frontier(folder: Path, federation: Federation) -> Drawn:
    """Draw HR@10 above NDCG@10 over the whole catalogue.

    With the split of published tables, a second column shows ranks among 99 sampled negatives.
    """
    prefixes = ("", "sampled_") if federation.published else ("",)
    figure = pyplot.figure(figsize=(WIDTH, 6.4), layout="constrained")
    panels = figure.subplots(2, len(prefixes), sharex=True, squeeze=False)
    looks = styles(labels_of([federation]))
    place = places([point.epsilon for series in federation.all_series for point in series.points])
    for column, prefix in enumerate(prefixes):
        for row, name in enumerate(("hr@10", "ndcg@10")):
            metric, axes = prefix + name, panels[row, column]
            floors(axes, federation, metric, place, looks)
            for level, colour, style in levels(federation, metric, looks).values():
                axes.axhline(level, color=colour, linestyle=style, linewidth=1.3)
            for curve in federation.curves("flower"):
                strategy(axes, curve, f"flower_{metric}", place)
            for series in federation.all_series:
                band(axes, series, metric, place, *looks[series.label])
            axes.set_title(NAMES[metric], fontsize="medium")
            axes.margins(y=0.08)
            if row == 1:
                epsilon_axis(axes, place)
    finish(panels)
    legend(figure, panels, [federation], columns=1)
    title(figure, f"{federation.title}; {federation.deltas}")
    for column, prefix in enumerate(prefixes):
        for row, name in enumerate(("hr@10", "ndcg@10")):
            named = levels(federation, prefix + name, looks)
            name_levels(panels[row, column], {label: level[:2] for label, level in named.items()})
    name = "-".join(
        map(slug, (f"frontier-{federation.data}", str(federation.devices), *federation.family[1:]))
    )
    save(figure, folder, name)
    return Drawn(
        name,
        " ".join(
            [
                *below_floor_sentences([federation]),
                f"Accuracy against ε on {federation.title}; {federation.deltas}. {federation.sentence} "
                "Bands show the range over the seeds. The shaded area is below the best floor, and its bold "
                "edge is that floor; each promise has its own. Floors keep a promise at least as strong as "
                "the point's. Hollow markers are below the best floor. ∞ is the same federated model without "
                "a promise, with its own settings; floors there need not keep a promise either. Black and "
                "grey lines are the best baseline of each kind; the table of baselines lists them all.",
            ]
        ),
        describe_frontier(federation),
    )


def levels(federation: Federation, metric: str, looks: dict[str, Look]) -> dict[str, Level]:
    """Return the lines of the best baselines of each kind, by their labels; the table has the others."""
    lines: dict[str, Level] = {}
    if (level := federation.level(NOTHING_RELEASED, metric)) is not None:
        lines[label_of(NOTHING_RELEASED)] = (level, GREY, DOTTED)
    if (strong := federation.best_strong(metric)) is not None:
        lines[f"{label_of(strong)}, no promise"] = (federation.level(strong, metric) or 0.0, BLACK, DASHED)
    # The first series of a model gives its colour to the central model.
    first = {series.model: series for series in reversed(federation.all_series)}
    for model in dict.fromkeys(series.model for series in federation.all_series):
        if (level := federation.level("central", metric, model)) is not None:
            lines[f"central {model}, no promise"] = (level, looks[first[model].label][0], "-.")
    if not metric.startswith("sampled_") and (level := federation.level("ceiling", metric)) is not None:
        lines["ceiling given the history"] = (level, GREY, SPARSE)
    return lines


def floors(
    axes: Axes, federation: Federation, metric: str, place: dict[float, float], looks: dict[str, Look]
) -> None:
    """Draw the best floor at each ε as a bold edge over a shaded area, in colours if promises differ."""
    edges: dict[float, dict[float, str]] = {}  # by ε, the levels of its floors with a colour each
    for series in federation.all_series:
        for point in series.points:
            if (floor := point.floor(metric)) is not None:
                edges.setdefault(point.epsilon, {}).setdefault(floor.level, looks[series.label][0])
    label = f"below the best floor (HR@10: {floors_in_words(federation)})"
    reach = steps(place)
    for epsilon, colours in edges.items():
        ends = reach[epsilon]
        for level, colour in colours.items():
            axes.plot(
                ends, [level, level], color=GREY if len(colours) == 1 else colour, linewidth=2.2,
                solid_capstyle="butt", zorder=1.5,
            )  # fmt: skip
        axes.fill_between(ends, 0.0, min(colours), color=SHADE, linewidth=0, zorder=0, label=label)


def floors_in_words(federation: Federation) -> str:
    """Name the best floor by HR@10; if it differs between ε, name the ε of each."""
    where: dict[str, set[float]] = {}
    for point in federation.points:
        if (floor := point.floor()) is not None:
            where.setdefault(floor.label, set()).add(point.epsilon)
    if len(where) == 1:
        return next(iter(where))
    return "; ".join(
        f"{label} ({'' if known == {math.inf} else 'ε = '}"
        f"{joined(['no promise' if math.isinf(one) else f'{one:g}' for one in sorted(known)])})"
        for label, known in where.items()
    )


def steps(place: dict[float, float]) -> dict[float, tuple[float, float]]:
    """Return the range of each ε on the axis, which reaches half of the way to its neighbours."""
    epsilons = sorted(place)
    xs = [place[epsilon] for epsilon in epsilons]
    middles = [(one + other) / 2 for one, other in pairwise(xs)]
    first = xs[0] - (middles[0] - xs[0] if middles else 0.5)
    last = xs[-1] + (xs[-1] - middles[-1] if middles else 0.5)
    ends = [first, *middles, last]
    return dict(zip(epsilons, pairwise(ends), strict=True))


def strategy(axes: Axes, curve: Series, metric: str, place: dict[float, float]) -> None:
    """Draw Flower's own strategy under the promise of each point, averaged over the seeds."""
    means = [
        (place[point.epsilon], mean) for point in curve.points if (mean := point.mean(metric)) is not None
    ]
    axes.plot(
        *zip(*means, strict=True), color=GREY, marker="*", markersize=6, linestyle=DOTTED, linewidth=1.0,
        label=curve.label,
    )  # fmt: skip


def band(
    axes: Axes, series: Series, metric: str, place: dict[float, float], colour: str, marker: str
) -> None:
    """Draw the means of a series, a band over its seeds, and a dotted line to the point without a promise."""
    known = [(point, spread) for point in series.points if (spread := point.spread(metric)) is not None]
    points, spreads = [point for point, _ in known], [spread for _, spread in known]
    xs, means = [place[point.epsilon] for point in points], [spread.mean for spread in spreads]
    private = sum(point.private for point in points)
    axes.fill_between(
        xs, [spread.low for spread in spreads], [spread.high for spread in spreads],
        color=colour, alpha=0.2, linewidth=0,
    )  # fmt: skip
    axes.plot(xs[:private], means[:private], color=colour, linewidth=1.6)
    axes.plot(xs[max(private - 1, 0) :], means[max(private - 1, 0) :], color=colour, linestyle=":")
    axes.plot([], [], color=colour, marker=marker, markersize=5, label=series.label)
    for x, mean, point in zip(xs, means, points, strict=True):
        axes.plot(
            x, mean, color=colour, marker=marker, markersize=5, markerfacecolor=face(point, metric, colour)
        )


def places(epsilons: list[float]) -> dict[float, float]:
    """Return the place of each ε on the axis: its logarithm; ∞ is one step and a half further right."""
    finite = sorted({epsilon for epsilon in epsilons if math.isfinite(epsilon)})
    logarithms = {epsilon: math.log2(epsilon) for epsilon in finite}
    last = logarithms[finite[-1]] if finite else 0.0
    step = (last - logarithms[finite[0]]) / (len(finite) - 1) if len(finite) > 1 else 1.0
    return {**logarithms, math.inf: last + 1.5 * step}


def epsilon_axis(axes: Axes, place: dict[float, float]) -> None:
    """Label the axis with the ε that were run, and ∞ at the right end."""
    axes.xaxis.set_major_locator(FixedLocator(list(place.values())))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticklabels(["∞" if math.isinf(epsilon) else f"{epsilon:g}" for epsilon in place])
    axes.set_xlabel("ε (logarithmic scale; ∞ = no promise)")
