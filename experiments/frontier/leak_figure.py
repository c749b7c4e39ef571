"""What does a leak feign? Accuracy with clean and with leaky negative sampling: the distance is the leak."""

from dataclasses import replace
from textwrap import fill

from terrycloth.experiments.frontier.figure import (
    Figure,
    Measure,
    figure,
    levels_of,
    mark_of,
    name_of,
    sentence_case,
)
from terrycloth.experiments.frontier.points import Federation, Point
from terrycloth.experiments.pages.chart import Chart, Line

Pair = tuple[Point | None, Point]  # clean, if it was run, and leaky


def leak_figure(federation: Federation) -> Figure:
    """Return the figure of both kinds of negative sampling on one federation."""
    return figure(
        lambda measure: leak_chart(federation, measure),
        f"{federation.title}; not private",
        f"{federation.sentence} In the leaky negative sampling of published code, held-out items are never "
        "drawn as negatives. Values are means over the seeds.",
        federation.published,
    )


def leak_chart(federation: Federation, measure: Measure) -> Chart:
    """Return the chart of one measure: for each model, a mark per kind of negative sampling."""
    models = pairs(federation)
    lines = []
    for label, which in (("clean negative sampling", 0), ("leaky negative sampling", 1)):
        marks = [
            mark_of(point, measure, float(place))
            for place, pair in enumerate(models.values())
            if (point := pair[which]) is not None
        ]
        known = [replace(mark, hollow=False) for mark in marks if mark is not None]
        lines.append(Line(label, known, private=False, joined=False))
    return Chart(
        name=name_of("leak", federation.data, str(federation.devices), *federation.family[1:]),
        title="What does a leak feign?",
        summary="In the leaky negative sampling of published code, held-out items are never drawn as "
        "negatives. No run here is private.",
        x_label="model",
        y_label=measure.label,
        lines=[line for line in lines if line.marks],
        levels=[level for level in levels_of(federation, measure) if "best sellers" in level.label],
        ticks={float(place): fill(name, 10) for place, name in enumerate(models)},
        form=measure.form,
        note=f"{sentence_case(federation.title)}. {federation.sentence} Values are means over the seeds.",
        alternative=describe_leak(federation, models),
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
