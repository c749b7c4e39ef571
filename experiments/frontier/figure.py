"""What the figures of a frontier share: a chart for the page, panels for a paper, measures and names."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.evaluation.metric_table import METRICS, SAMPLED_METRICS
from terrycloth.experiments.frontier.points import Federation, Floor, Point, Series, popular_level
from terrycloth.experiments.pages.chart import Chart, Level, Mark, Step

NAMES = {name: f"{metric.label}, whole catalogue" for name, metric in METRICS.items()} | {
    f"sampled_{name}": f"{METRICS[name].label}, 99 sampled negatives" for name in SAMPLED_METRICS
}
FLOOR_LABEL = "no shopper's data needed up to here"
BANDS = "Bands show the range over the seeds. Hollow markers are below their best floor."


@dataclass(frozen=True)
class Measure:
    """What a y axis shows: a column of the table times `scale`; its label; and how a value is written."""

    column: str
    label: str
    scale: float = 1.0
    form: str = "{:.3f}"

    def of(self, value: float) -> float:
        """Return a value of the column in the units of the axis."""
        return value * self.scale


PEOPLE = Measure("hr@10", "of 100 next purchases, those among ten recommendations", 100.0, "{:.1f}")


@dataclass(frozen=True)
class Figure:
    """One question, drawn: a chart for the page, and rows of panels for a paper with their title and note."""

    page: Chart
    panels: list[list[Chart]]
    title: str
    note: str

    @property
    def name(self) -> str:
        """The name of its files, without ending."""
        return self.page.name


def figure(make: Callable[[Measure], Chart], title: str, note: str, published: bool = False) -> Figure:
    """Return a figure whose charts `make` makes, each of one measure.

    A paper shows HR@10 above NDCG@10, over the whole catalogue and, if `published`, beside it among 99
    sampled negatives.
    """
    page = make(PEOPLE)
    files = {ending.upper(): f"figures/{page.name}.{ending}" for ending in ("svg", "png")}
    panels = [
        [
            make(Measure(prefix + name, NAMES[prefix + name]))
            for prefix in (("", "sampled_") if published else ("",))
        ]
        for name in ("hr@10", "ndcg@10")
    ]
    return Figure(replace(page, files=files), panels, title, note)


def mark_of(point: Point, measure: Measure, x: float, apart: bool = False, name: str = "") -> Mark | None:
    """Return the mark of a point at an x, with the range of its seeds; None if it was not measured."""
    spread = point.spread(measure.column)
    if spread is None:
        return None
    low, high = measure.of(spread.low), measure.of(spread.high)
    return Mark(x, measure.of(spread.mean), low, high, point.below(measure.column), apart, name)


def levels_of(federation: Federation, measure: Measure) -> list[Level]:
    """Return what the points are compared with: the best baseline of each kind; the table has the others."""
    found: dict[str, float | None] = {}
    if (popular := popular_level(federation, measure.column)) is not None:
        found[popular_name(popular)] = popular.level
    if (strong := federation.best_strong(measure.column)) is not None:
        found[f"{label_of(strong)}, pooled data"] = federation.level(strong, measure.column)
    central = best_central(federation, measure.column)
    if central is not None:
        found[f"{central.label}, pooled data"] = central.level
    if not measure.column.startswith("sampled_"):
        found["best possible"] = federation.level("ceiling", measure.column)
    return [Level(name, measure.of(level)) for name, level in found.items() if level is not None]


def popular_name(popular: Floor) -> str:
    """Name a baseline that recommends the same items to everyone."""
    return "recent best sellers" if popular.name.startswith("recent") else "best sellers"


def best_central(federation: Federation, metric: str) -> Floor | None:
    """Return the best of the models that were trained centrally; None if there is none."""
    known = [
        Floor("central", model, level)
        for model in dict.fromkeys(series.model for series in federation.all_series)
        if (level := federation.level("central", metric, model)) is not None
    ]
    return max(known, key=lambda floor: floor.level, default=None)


def shade(federation: Federation, measure: Measure, start: float, end: float) -> list[Step]:
    """Return the shaded area: what each device reaches by itself, without any other shopper's data."""
    level = federation.level(NOTHING_RELEASED, measure.column)
    return [] if level is None else [Step(start, end, measure.of(level))]


def short_labels(series: Iterable[Series]) -> dict[str, str]:
    """Return a short label for each: what sets it apart, without what all have in common.

    A single series is named after its model. If one label is another with something added, it stays whole.
    """
    every = {one.label: one for one in series}
    if len(every) == 1:
        return {
            label: f"{one.model} with privacy" if one.private else one.model for label, one in every.items()
        }
    parts = {label: label.split(", ") for label in every}
    common = set.intersection(*map(set, parts.values())) if parts else set()
    short = {label: ", ".join(part for part in of if part not in common) for label, of in parts.items()}
    return {label: brief or label for label, brief in short.items()}


def sentence_case(text: str) -> str:
    """Return a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def slug(text: str) -> str:
    """Turn the label of a data set into a part of a file name."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else " " for c in text).split())


def name_of(kind: str, *parts: str) -> str:
    """Return the name of a figure's files."""
    return "-".join(map(slug, (kind, *parts)))


def epsilon_name(epsilon: float) -> str:
    """Return an ε in words: “ε = 4” or “no promise”."""
    return "no promise" if math.isinf(epsilon) else f"ε = {epsilon:g}"
