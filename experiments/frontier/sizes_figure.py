"""Does privacy cost less with more shoppers? One chart per model and promise, with one line per ε."""

import math

from terrycloth.experiments.baselines import NOTHING_RELEASED
from terrycloth.experiments.frontier.alt_text import describe_sizes, split_sentences
from terrycloth.experiments.frontier.figure import (
    BANDS,
    Figure,
    Measure,
    epsilon_name,
    figure,
    mark_of,
    name_of,
    popular_name,
    sentence_case,
    short_labels,
)
from terrycloth.experiments.frontier.points import (
    Federation,
    family_heading,
    family_title,
    labels_of,
    popular_level,
)
from terrycloth.experiments.pages.chart import Chart, Line, Mark


def sizes_figures(sizes: list[Federation]) -> list[Figure]:
    """Return one figure for each series that was run under a promise, or alone."""
    short = short_labels(series for federation in sizes for series in federation.all_series)
    labels = labels_of(sizes)
    return [
        figure(
            lambda measure, label=label: sizes_chart(sizes, label, short[label], measure),  # type: ignore[misc]
            f"{family_heading(sizes)}: {label}",
            f"{split_sentences(sizes)} {BANDS}",
        )
        for label in labels
    ]


def sizes_chart(sizes: list[Federation], label: str, short: str, measure: Measure) -> Chart:
    """Return the chart of one series: a line per ε over the number of devices."""
    epsilons = sorted(
        {
            point.epsilon
            for federation in sizes
            for series in federation.all_series
            for point in series.points
            if series.label == label
        }
    )
    lines = [
        Line(epsilon_name(epsilon), growing(sizes, label, epsilon, measure), private=math.isfinite(epsilon))
        for epsilon in epsilons
    ]
    lines += beside(sizes, measure)
    several = len(labels_of(sizes)) > 1
    return Chart(
        name=name_of("devices", *sizes[0].family, *([short] if several else [])),
        title="Does privacy cost less with more shoppers?" + (f" {sentence_case(short)}" if several else ""),
        summary=f"{sentence_case(label)}: one line for each ε, over the number of shoppers.",
        x_label="shoppers, one device each, on a logarithmic scale",
        y_label=measure.label,
        lines=[line for line in lines if line.marks],
        ticks={float(one.devices): f"{one.devices:,}" for one in sizes},
        names={float(one.devices): f"{one.devices:,} shoppers" for one in sizes},
        form=measure.form,
        note=f"{sentence_case(family_title(sizes))}. {BANDS}",
        alternative=describe_sizes(sizes),
        log_x=True,
    )


def growing(sizes: list[Federation], label: str, epsilon: float, measure: Measure) -> list[Mark]:
    """Return the marks of one series at one ε, over all sizes at which it was run."""
    marks = [
        mark_of(point, measure, float(federation.devices))
        for federation in sizes
        for series in federation.all_series
        for point in series.points
        if series.label == label and point.epsilon == epsilon
    ]
    return [mark for mark in marks if mark is not None]


def beside(sizes: list[Federation], measure: Measure) -> list[Line]:
    """Return the lines of what needs no model: each device by itself, and best sellers."""
    alone = [
        Mark(float(one.devices), measure.of(level))
        for one in sizes
        if (level := one.level(NOTHING_RELEASED, measure.column)) is not None
    ]
    popular = [(one, found) for one in sizes if (found := popular_level(one, measure.column)) is not None]
    named = popular_name(popular[-1][1]) if popular else ""
    sold = [Mark(float(one.devices), measure.of(found.level)) for one, found in popular]
    return [
        Line("each device alone", alone, private=False, dashed=True),
        Line(f"{named}, no promise", sold, private=False, dashed=True),
    ]
