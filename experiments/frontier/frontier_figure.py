"""Accuracy against ε: a line a model and promise, a band over its seeds, floors below and levels beside."""

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
    """HR@10 above NDCG@10, whole catalogue; under the split of published tables, their ranking beside it."""
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
                "Bands: the least and the greatest of the seeds. Shaded: below the best floor under a "
                "promise as strong; each promise has an edge. Hollow: points below it. ∞: the same model, "
                "federated, without a promise, with its settings then, where floors need not keep one. "
                "Black and grey: baselines, the best of each kind; the table has all.",
            ]
        ),
        describe_frontier(federation),
    )


def levels(federation: Federation, metric: str, looks: dict[str, Look]) -> dict[str, Level]:
    """Level lines for what the results are held against, by their names; the table has the rest."""
    found: dict[str, Level] = {}
    if (level := federation.level(NOTHING_RELEASED, metric)) is not None:
        found[label_of(NOTHING_RELEASED)] = (level, GREY, DOTTED)
    if (strong := federation.best_strong(metric)) is not None:
        found[f"{label_of(strong)}, no promise"] = (federation.level(strong, metric) or 0.0, BLACK, DASHED)
    first = {series.model: line for series in reversed(federation.all_series)}  # of each model, for its colour
    for model in dict.fromkeys(series.model for series in federation.all_series):
        if (level := federation.level("central", metric, model)) is not None:
            found[f"central {model}, no promise"] = (level, looks[first[model].label][0], "-.")
    if not metric.startswith("sampled_") and (level := federation.level("ceiling", metric)) is not None:
        found["ceiling given the history"] = (level, GREY, SPARSE)
    return found


def floors(
    axes: Axes, federation: Federation, metric: str, place: dict[float, float], looks: dict[str, Look]
) -> None:
    """At each ε the best floor, as a bold edge over a shade; promises that differ have colours."""
    edges: dict[float, dict[float, str]] = {}  # by ε, its floors' levels with a colour each
    for series in federation.all_series:
        for point in series.points:
            if (floor := point.floor(metric)) is not None:
                edges.setdefault(point.epsilon, {}).setdefault(floor.level, looks[series.label][0])
    said = f"below the best floor (in HR@10 {floors_in_words(federation)})"
    reach = steps(place)
    for epsilon, found in edges.items():
        ends = reach[epsilon]
        for level, colour in found.items():
            axes.plot(
                ends, [level, level], color=GREY if len(found) == 1 else colour, linewidth=2.2,
                solid_capstyle="butt", zorder=1.5,
            )  # fmt: skip
        axes.fill_between(ends, 0.0, min(found), color=SHADE, linewidth=0, zorder=0, label=said)


def floors_in_words(federation: Federation) -> str:
    """Which floor is the best by HR@10, and at which ε where it is not one and the same."""
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
    """From where to where each ε reaches on the axis: half of the way to its neighbours."""
    epsilons = sorted(place)
    xs = [place[epsilon] for epsilon in epsilons]
    middles = [(one + other) / 2 for one, other in pairwise(xs)]
    first = xs[0] - (middles[0] - xs[0] if middles else 0.5)
    last = xs[-1] + (xs[-1] - middles[-1] if middles else 0.5)
    ends = [first, *middles, last]
    return dict(zip(epsilons, pairwise(ends), strict=True))


def strategy(axes: Axes, curve: Series, metric: str, place: dict[float, float]) -> None:
    """Flower's own strategy under each point's promise: the means of the seeds."""
    means = [
        (place[point.epsilon], mean) for point in curve.points if (mean := point.mean(metric)) is not None
    ]
    axes.plot(
        *zip(*means, strict=True), color=GREY, marker="*", markersize=6, linestyle=DOTTED, linewidth=1.0,
        label=curve.label,
    )  # fmt: skip


def band(axes: Axes, series: Series, metric: str, place: dict[float, float], colour: str, marker: str) -> None:
    """The means, and between the least and the greatest of the seeds a band; dotted on to no promise."""
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
