"""What does each ε cost? One line per model and promise over ε, with what it is compared with."""

import math

from terrycloth.experiments.baselines.floors import PRIVATE
from terrycloth.experiments.frontier.alt_text import describe_frontier
from terrycloth.experiments.frontier.figure import (
    BANDS,
    FLOOR_LABEL,
    Figure,
    Measure,
    epsilon_name,
    figure,
    levels_of,
    mark_of,
    name_of,
    sentence_case,
    shade,
    short_labels,
)
from terrycloth.experiments.frontier.points import Federation, Series
from terrycloth.experiments.pages.chart import Chart, Line, Mark


def frontier_figure(federation: Federation) -> Figure:
    """Return the figure of accuracy against ε on one federation."""
    return figure(
        lambda measure: cost_chart(federation, measure),
        f"{federation.title}; {federation.deltas}",
        f"{federation.sentence} {BANDS} Shaded: {FLOOR_LABEL}.",
        federation.published,
    )


def cost_chart(federation: Federation, measure: Measure) -> Chart:
    """Return the chart of one measure against ε."""
    place = places([point.epsilon for series in federation.all_series for point in series.points])
    short = short_labels(federation.all_series)
    lines = [line_of(series, short[series.label], measure, place) for series in federation.all_series]
    lines += [
        Line(one.label, marks, private=False)
        for one in federation.curves("flower")
        if (marks := baseline_marks(one, f"flower_{measure.column}", measure, place))
    ]
    private_floors = private_floor(federation, measure, place)
    lines.append(Line("best sellers under the same promise", private_floors, private=False, dashed=True))
    private = any(line.private for line in lines)
    asked = "What does each ε cost" if private else "How much does each model find"
    start, *_, end = [min(place.values()) - 0.5, *place.values(), max(place.values()) + 0.5]
    return Chart(
        name=name_of("frontier", federation.data, str(federation.devices), *federation.family[1:]),
        title=f"{asked} with {federation.devices:,} shoppers?",
        summary="In colour, what keeps a promise of privacy. In grey, what it is compared with.",
        x_label="ε: the smaller, the stronger the promise",
        y_label=measure.label,
        lines=[line for line in lines if line.marks],
        levels=levels_of(federation, measure),
        floor=shade(federation, measure, start, end),
        floor_label=FLOOR_LABEL,
        ticks={x: "no\npromise" if math.isinf(epsilon) else f"{epsilon:g}" for epsilon, x in place.items()},
        names={x: epsilon_name(epsilon) for epsilon, x in place.items()},
        form=measure.form,
        note=f"{sentence_case(federation.title)}; {federation.deltas}. {federation.sentence} {BANDS} Pooled "
        "data: all purchases in one place, without a promise.",
        alternative=describe_frontier(federation),
    )


def line_of(series: Series, label: str, measure: Measure, place: dict[float, float]) -> Line:
    """Return the line of a series; a dotted line leads to its point without a promise."""
    marks = [
        mark_of(point, measure, place[point.epsilon], apart=bool(series.private) and not point.private)
        for point in series.points
    ]
    return Line(label, [mark for mark in marks if mark is not None], private=bool(series.private))


def baseline_marks(curve: Series, column: str, measure: Measure, place: dict[float, float]) -> list[Mark]:
    """Return the marks of a baseline that keeps the promise of each point, averaged over the seeds."""
    return [
        Mark(place[point.epsilon], measure.of(mean))
        for point in curve.points
        if (mean := point.mean(column)) is not None
    ]


def private_floor(federation: Federation, measure: Measure, place: dict[float, float]) -> list[Mark]:
    """Return best sellers counted under a promise, where they are the best floor; of several, the best."""
    levels: dict[float, float] = {}
    for point in federation.points:
        floor = point.floor(measure.column)
        if floor is not None and floor.name in PRIVATE:
            levels[point.epsilon] = max(levels.get(point.epsilon, 0.0), floor.level)
    return [Mark(place[epsilon], measure.of(levels[epsilon])) for epsilon in sorted(levels)]


def places(epsilons: list[float]) -> dict[float, float]:
    """Return the place of each ε on the axis: its logarithm; ∞ is one step and a half further right."""
    finite = sorted({epsilon for epsilon in epsilons if math.isfinite(epsilon)})
    logarithms = {epsilon: math.log2(epsilon) for epsilon in finite}
    last = logarithms[finite[-1]] if finite else 0.0
    step = (last - logarithms[finite[0]]) / (len(finite) - 1) if len(finite) > 1 else 1.0
    free = {math.inf: last + 1.5 * step} if any(map(math.isinf, epsilons)) else {}
    return logarithms | free
