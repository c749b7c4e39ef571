"""The figure of accuracy with clean and with leaky negative sampling: the distance is the leak."""

from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes

from terrycloth.experiments.frontier.points import Federation, Point
from terrycloth.experiments.frontier.style import NAMES, WIDTH, Drawn, legend, slug, title
from terrycloth.experiments.reports.figures import BLUE, GREY, ORANGE, save

Pair = tuple[Point | None, Point]  # clean, if it was run, and leaky


def draw_leak(folder: Path, federation: Federation) -> Drawn:
    """Draw HR@10 above NDCG@10 over the whole catalogue.

    With the split of published tables, a second column shows ranks among 99 sampled negatives.
    """
    models = pairs(federation)
    prefixes = ("", "sampled_") if federation.published else ("",)
    figure = pyplot.figure(figsize=(WIDTH, 2.8 + 0.5 * len(models)), layout="constrained")
    panels = figure.subplots(2, len(prefixes), sharex=True, sharey=True, squeeze=False)
    for column, prefix in enumerate(prefixes):
        for row, name in enumerate(("hr@10", "ndcg@10")):
            axes, metric = panels[row, column], prefix + name
            dumbbells(axes, models, metric)
            popular = federation.level("popularity", metric)
            if popular is not None:
                axes.axvline(popular, color=GREY, linestyle="--", linewidth=1.2, label="popularity")
            axes.set_title(NAMES[metric], fontsize="medium")
            axes.grid(alpha=0.3)
    panels[0, 0].set_xlim(0, 1)
    panels[0, 0].set_yticks(range(len(models)), labels=list(models))
    panels[0, 0].invert_yaxis()
    legend(figure, panels, [federation], columns=3)
    title(figure, f"{federation.title}; not private")
    name = "-".join(map(slug, (f"leak-{federation.data}", str(federation.devices), *federation.family[1:])))
    save(figure, folder, name)
    return Drawn(
        name,
        f"How much leaky negative sampling gains on {federation.title}. {federation.sentence} Filled "
        "markers: clean negative sampling. Hollow markers: the leaky negative sampling of published code, in "
        "which held-out items are never drawn as negatives. Values are means over the seeds.",
        describe_leak(federation, models),
    )


def pairs(federation: Federation) -> dict[str, Pair]:
    """Return, by model, the point with clean negative sampling, if it was run, and the leaky point."""
    by_sampling: dict[str, dict[str, Point]] = {"clean": {}, "leaky": {}}
    for point in federation.points:
        if point.of("unit") == "none":
            name = ", ".join(part for part in (point.of("model"), point.of("variant")) if part)
            by_sampling[point.of("negative_sampling")][name] = point
    clean = by_sampling["clean"]
    return {name: (clean.get(name), leaky) for name, leaky in by_sampling["leaky"].items()}


def dumbbells(axes: Axes, models: dict[str, Pair], metric: str) -> None:
    """Draw a line from the clean to the leaky value of each model."""
    for place, (clean, leaky) in enumerate(models.values()):
        before, after = (None if point is None else point.mean(metric) for point in (clean, leaky))
        if before is not None and after is not None:
            axes.plot([before, after], [place, place], color=ORANGE, linewidth=1.6, zorder=1)
        if before is not None:
            axes.plot(
                before, place, color=BLUE, marker="o", markersize=6, linestyle="none", clip_on=False,
                label="clean negative sampling",
            )  # fmt: skip
        if after is not None:
            axes.plot(
                after, place, color=ORANGE, marker="D", markersize=6, markerfacecolor="none",
                linestyle="none", clip_on=False, label="leaky negative sampling",
            )  # fmt: skip


def describe_leak(federation: Federation, models: dict[str, Pair]) -> str:
    """Describe HR@10 of each model; with the split of published tables, among 99 sampled negatives."""
    metric, ranking = (
        ("sampled_hr@10", "among 99 sampled negatives")
        if federation.published
        else ("hr@10", "over the whole catalogue")
    )
    text = [
        f"Leaky and clean negative sampling on {federation.title}. {federation.sentence} HR@10 {ranking}:"
    ]
    for name, (clean, leaky) in models.items():
        before, after = (None if point is None else point.mean(metric) for point in (clean, leaky))
        values = ["not measured" if value is None else f"{value:.3f}" for value in (before, after)]
        text.append(f"{name}: clean {values[0]}, leaky {values[1]}.")
    return " ".join(text)
