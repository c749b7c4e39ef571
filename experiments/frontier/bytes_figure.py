"""What does a device send for it? Accuracy against the bytes that a device sends over all rounds."""

from terrycloth.experiments.frontier.alt_text import describe_bytes, split_sentences
from terrycloth.experiments.frontier.figure import (
    FLOOR_LABEL,
    Figure,
    Measure,
    epsilon_name,
    figure,
    mark_of,
    name_of,
    shade,
    short_labels,
)
from terrycloth.experiments.frontier.points import Federation, family_heading
from terrycloth.experiments.pages.chart import Chart, Line


def bytes_figure(sizes: list[Federation]) -> Figure | None:
    """Return the figure of the largest size; None if all devices that send anything send the same there."""
    federation = sizes[-1]
    if len({sent for point in federation.points if (sent := point.of("bytes_up_per_device"))}) < 2:
        return None
    return figure(
        lambda measure: bytes_chart(sizes, measure),
        f"{family_heading(sizes)}; {federation.devices:,} devices",
        f"{split_sentences(sizes)} Each marker is one ε. Shaded: {FLOOR_LABEL}.",
    )


def bytes_chart(sizes: list[Federation], measure: Measure) -> Chart:
    """Return the chart of one measure against bytes: the marks of a series are its ε, not joined."""
    federation = sizes[-1]
    short = short_labels(federation.all_series)
    lines = []
    for series in federation.all_series:
        marks = [
            mark_of(point, measure, float(point.of("bytes_up_per_device")), name=epsilon_name(point.epsilon))
            for point in series.points
            if point.of("bytes_up_per_device")
        ]
        known = [mark for mark in marks if mark is not None]
        lines.append(Line(short[series.label], known, private=bool(series.private), joined=False))
    xs = [mark.x for line in lines for mark in line.marks]
    return Chart(
        name=name_of("bytes", *sizes[0].family),
        title="What does a device send for it?",
        summary=f"Each marker is one ε, with {federation.devices:,} shoppers. Bytes are those of all rounds.",
        x_label="bytes that a device sends over all rounds, on a logarithmic scale",
        y_label=measure.label,
        lines=[line for line in lines if line.marks],
        floor=shade(federation, measure, min(xs) / 1.5, max(xs) * 1.5) if xs else [],
        floor_label=FLOOR_LABEL,
        names={x: f"{x:,.0f} bytes" for x in xs},
        form=measure.form,
        note="Hollow markers are below their best floor.",
        alternative=describe_bytes(sizes),
        log_x=True,
    )
