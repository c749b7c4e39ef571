"""The figure of accuracy against rounds: how long training takes to reach its final accuracy."""

from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from terrycloth.experiments.frontier.alt_text import below_floor_sentences, describe_rounds, split_sentences
from terrycloth.experiments.frontier.points import (
    Federation,
    Series,
    family_heading,
    family_title,
    series_label,
)
from terrycloth.experiments.frontier.style import (
    NAMES,
    WIDTH,
    Drawn,
    Look,
    face,
    finish,
    labels_of,
    legend,
    nothing_released,
    slug,
    styles,
    title,
)
from terrycloth.experiments.frontier.training_curves import TrainingCurve, curves_by_round
from terrycloth.experiments.reports.figures import save


def draw_rounds(folder: Path, runs: Path, sizes: list[Federation]) -> Drawn | None:
    """Draw one column per size, HR@10 above NDCG@10; None if no run measured more than one round."""
    measured = [(size, [curves_by_round(runs, series) for series in size.all_series]) for size in sizes]
    measured = [(size, curves_of_series) for size, curves_of_series in measured if any(curves_of_series)]
    if not measured:
        return None
    sizes = [size for size, _ in measured]
    figure = pyplot.figure(figsize=(max(WIDTH, 2.6 * len(sizes)), 6.4), layout="constrained")
    panels = figure.subplots(2, len(sizes), sharex="col", sharey="row", squeeze=False)
    looks = styles(labels_of(sizes))
    for column, (federation, curves_of_series) in enumerate(measured):
        for row, metric in enumerate(("hr@10", "ndcg@10")):
            axes = panels[row, column]
            for series, curves in zip(federation.all_series, curves_of_series, strict=True):
                for curve in curves:
                    draw_curve(axes, series, curve, metric, looks[series.label])
            nothing_released(axes, federation, metric)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            if column == 0:
                axes.set_ylabel(NAMES[metric])
            if row == 0:
                axes.set_title(f"{federation.devices:,} devices", fontsize="medium")
            else:
                axes.set_xlabel("round (logarithmic scale)")
    finish(panels)
    legend(figure, panels, sizes, columns=1)
    title(figure, family_heading(sizes))
    name = "-".join(map(slug, ("rounds", *sizes[0].family)))
    save(figure, folder, name)
    return Drawn(
        name,
        " ".join(
            [
                *below_floor_sentences(sizes),
                f"Accuracy against rounds on {family_title(sizes)}, whole catalogue, means over the seeds. "
                f"{split_sentences(sizes)} ε covers all rounds of a run, and sets the noise from the first "
                "round on. Dotted lines have no promise. Hollow markers end below the best floor.",
            ]
        ),
        describe_rounds(measured),
    )


def draw_curve(axes: Axes, series: Series, curve: TrainingCurve, metric: str, look: Look) -> None:
    """Draw one curve: dotted without a promise, with hollow markers if it ends below the best floor."""
    point = curve.point
    free = not point.private
    label = series_label(point.of("model"), point.of("variant"), "none", None, None) if free else series.label
    axes.plot(
        curve.rounds, curve.means[metric], color=look[0], marker=look[1], markersize=4, linewidth=1.4,
        linestyle=":" if free else "-", markerfacecolor=face(point, metric, look[0]),
        label=label if free else f"{label}, ε = {point.epsilon:g}",
    )  # fmt: skip
