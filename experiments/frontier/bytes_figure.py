"""The figure of accuracy against the bytes that a device sends over all rounds."""

from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes

from terrycloth.experiments.frontier.alt_text import below_floor_sentences, describe_bytes, split_sentences
from terrycloth.experiments.frontier.points import Federation, Series, family_heading, family_title
from terrycloth.experiments.frontier.style import (
    NAMES,
    WIDTH,
    Drawn,
    face,
    finish,
    labels_of,
    legend,
    nothing_released,
    slug,
    styles,
    title,
)
from terrycloth.experiments.reports.figures import save


def draw_bytes(folder: Path, sizes: list[Federation]) -> Drawn:
    """Draw one column per size, HR@10 above NDCG@10; markers below the best floor are hollow."""
    figure = pyplot.figure(figsize=(max(WIDTH, 2.6 * len(sizes)), 6.4), layout="constrained")
    panels = figure.subplots(2, len(sizes), sharex=True, sharey="row", squeeze=False)
    looks = styles(labels_of(sizes))
    for column, federation in enumerate(sizes):
        for row, metric in enumerate(("hr@10", "ndcg@10")):
            axes = panels[row, column]
            for series in federation.all_series:
                trail(axes, series, metric, *looks[series.label])
            nothing_released(axes, federation, metric)
            axes.set_xscale("log")
            axes.margins(x=0.35, y=0.2)
            if column == 0:
                axes.set_ylabel(NAMES[metric])
            if row == 0:
                axes.set_title(f"{federation.devices:,} devices", fontsize="medium")
            else:
                axes.set_xlabel("bytes sent per device, all rounds")
    finish(panels)
    legend(figure, panels, sizes)
    title(figure, family_heading(sizes))
    name = "-".join(map(slug, ("bytes", *sizes[0].family)))
    save(figure, folder, name)
    return Drawn(
        name,
        " ".join(
            [
                *below_floor_sentences(sizes),
                f"Accuracy against the bytes that a device sends on {family_title(sizes)}, whole catalogue, "
                f"means over the seeds. {split_sentences(sizes)} Labels show the smallest and the largest ε "
                "of each line; ∞ means no promise. Hollow markers are below the best floor.",
            ]
        ),
        describe_bytes(sizes),
    )


def trail(axes: Axes, series: Series, metric: str, colour: str, marker: str) -> None:
    """Draw the points of one series by rising ε, and label only its ends so that labels do not overlap."""
    known = [
        (point, float(point.of("bytes_up_per_device")), mean)
        for point in series.points
        if (mean := point.mean(metric)) is not None
    ]
    private = [one for one in known if one[0].private]
    axes.plot(
        [sent for _, sent, _ in private], [mean for _, _, mean in private], color=colour, marker=marker,
        markersize=6, linewidth=1, label=series.label,
    )  # fmt: skip
    for point, sent, mean in known:
        axes.plot(
            sent, mean, color=colour, marker=marker, markersize=6, markerfacecolor=face(point, metric, colour)
        )
    texts = [(one, f"ε = {one[0].epsilon:g}", (-6, -10)) for one in private[:1]]
    texts += [(one, f"ε = {one[0].epsilon:g}", (-6, 4)) for one in private[1:][-1:]]
    texts += [(one, "∞", (6, -4)) for one in known if not one[0].private]
    for (_, sent, mean), text, offset in texts:
        axes.annotate(
            text, (sent, mean), textcoords="offset points", xytext=offset, fontsize="small",
            ha="right" if offset[0] < 0 else "left",
        )  # fmt: skip
