"""What a model reaches under the clean protocol and under the leaky one: the distance is the leak."""

from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes

from terrycloth.experiments.frontier.points import Federation, Point
from terrycloth.experiments.frontier.style import NAMES, WIDTH, Drawn, legend, slug, title
from terrycloth.experiments.reports.figures import BLUE, GREY, ORANGE, save

Pair = tuple[Point | None, Point]  # clean where it was run, and leaky


def draw_leak(folder: Path, federation: Federation) -> Drawn:
    """HR@10 above NDCG@10, whole catalogue; under the split of published tables, 99 negatives beside it."""
    found = pairs(federation)
    prefixes = ("", "sampled_") if federation.published else ("",)
    figure = pyplot.figure(figsize=(WIDTH, 2.8 + 0.5 * len(found)), layout="constrained")
    panels = figure.subplots(2, len(prefixes), sharex=True, sharey=True, squeeze=False)
    for column, prefix in enumerate(prefixes):
        for row, name in enumerate(("hr@10", "ndcg@10")):
            axes, metric = panels[row, column], prefix + name
            dumbbells(axes, found, metric)
            popular = federation.level("popularity", metric)
            if popular is not None:
                axes.axvline(popular, color=GREY, linestyle="--", linewidth=1.2, label="popularity")
            axes.set_title(NAMES[metric], fontsize="medium")
            axes.grid(alpha=0.3)
    panels[0, 0].set_xlim(0, 1)
    panels[0, 0].set_yticks(range(len(found)), labels=list(found))
    panels[0, 0].invert_yaxis()
    legend(figure, panels, [federation], columns=3)
    title(figure, f"{federation.title}; not private")
    name = "-".join(map(slug, (f"leak-{federation.data}", str(federation.devices), *federation.family[1:])))
    save(figure, folder, name)
    return Drawn(
        name,
        f"What is the leak of a protocol, on {federation.title}. {federation.sentence} Filled: the clean "
        "protocol. Hollow: the leaky one of published code, in which what is held out is never drawn as a "
        "negative. Means of the seeds.",
        describe_leak(federation, found),
    )


def pairs(federation: Federation) -> dict[str, Pair]:
    """Each model that was run under the leaky protocol, by its name, beside itself under the clean one."""
    by_protocol: dict[str, dict[str, Point]] = {"clean": {}, "leaky": {}}
    for point in federation.points:
        if point.of("unit") == "none":
            name = ", ".join(part for part in (point.of("model"), point.of("variant")) if part)
            by_protocol[point.of("negative_sampling")][name] = point
    clean = by_protocol["clean"]
    return {name: (clean.get(name), leaky) for name, leaky in by_protocol["leaky"].items()}


def dumbbells(axes: Axes, found: dict[str, Pair], metric: str) -> None:
    """A line from each model's clean figure to its leaky one."""
    for place, (clean, leaky) in enumerate(found.values()):
        before, after = (None if point is None else point.mean(metric) for point in (clean, leaky))
        if before is not None and after is not None:
            axes.plot([before, after], [place, place], color=ORANGE, linewidth=1.6, zorder=1)
        if before is not None:
            axes.plot(
                before, place, color=BLUE, marker="o", markersize=6, linestyle="none", clip_on=False,
                label="clean",
            )  # fmt: skip
        if after is not None:
            axes.plot(
                after, place, color=ORANGE, marker="D", markersize=6, markerfacecolor="none",
                linestyle="none", clip_on=False, label="leaky protocol",
            )  # fmt: skip


def describe_leak(federation: Federation, found: dict[str, Pair]) -> str:
    """HR@10, where the split is of published tables against 99 negatives as they have it, model by model."""
    metric, ranking = (
        ("sampled_hr@10", "of 100") if federation.published else ("hr@10", "over the whole catalogue")
    )
    said = [
        f"The leaky protocol beside the clean one on {federation.title}. {federation.sentence} "
        f"HR@10 {ranking}:"
    ]
    for name, (clean, leaky) in found.items():
        before, after = (None if point is None else point.mean(metric) for point in (clean, leaky))
        reached = ["not measured" if value is None else f"{value:.3f}" for value in (before, after)]
        said.append(f"{name}: clean {reached[0]}, leaky {reached[1]}.")
    return " ".join(said)
