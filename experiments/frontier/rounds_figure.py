"""How long does training take? Accuracy against rounds, at the largest ε and without a promise."""

from pathlib import Path

from terrycloth.experiments.frontier.alt_text import describe_rounds, split_sentences
from terrycloth.experiments.frontier.figure import (
    FLOOR_LABEL,
    Figure,
    Measure,
    epsilon_name,
    figure,
    name_of,
    shade,
    short_labels,
)
from terrycloth.experiments.frontier.points import Federation, Series, family_heading
from terrycloth.experiments.frontier.training_curves import TrainingCurve, curves_by_round
from terrycloth.experiments.pages.chart import Chart, Line, Mark


def rounds_figure(runs: Path, sizes: list[Federation]) -> Figure | None:
    """Return the figure of the largest size with curves; None if no run measured more than one round."""
    measured = [(size, [curves_by_round(runs, series) for series in size.all_series]) for size in sizes]
    measured = [(size, curves_of_series) for size, curves_of_series in measured if any(curves_of_series)]
    if not measured:
        return None
    federation, _ = measured[-1]
    return figure(
        lambda measure: rounds_chart(measured, measure),
        f"{family_heading([federation])}; {federation.devices:,} devices",
        f"{split_sentences([federation])} ε covers all rounds of a run, and sets the noise from the first "
        f"round on. Shaded: {FLOOR_LABEL}.",
    )


def rounds_chart(measured: list[tuple[Federation, list[list[TrainingCurve]]]], measure: Measure) -> Chart:
    """Return the chart of one measure over the rounds."""
    federation, curves_of_series = measured[-1]
    short = short_labels(federation.all_series)
    lines: dict[str, Line] = {}
    for series, curves in zip(federation.all_series, curves_of_series, strict=True):
        for curve in curves:
            line = curve_line(series, short[series.label], curve, measure)
            lines.setdefault(line.label, line)
    last = max(mark.x for line in lines.values() for mark in line.marks)
    first = min(mark.x for line in lines.values() for mark in line.marks)
    return Chart(
        name=name_of("rounds", *federation.family),
        title="How long does training take?",
        summary=f"After each round that was measured, with {federation.devices:,} shoppers.",
        x_label="round, on a logarithmic scale",
        y_label=measure.label,
        lines=list(lines.values()),
        floor=shade(federation, measure, first / 1.1, last * 1.1),
        floor_label=FLOOR_LABEL,
        names={mark.x: f"round {mark.x:.0f}" for line in lines.values() for mark in line.marks},
        form=measure.form,
        note="ε covers all rounds of a run, and sets the noise from the first round on. Lines are means over "
        "the seeds.",
        alternative=describe_rounds(measured),
        log_x=True,
    )


def curve_line(series: Series, short: str, curve: TrainingCurve, measure: Measure) -> Line:
    """Return the line of one curve, with hollow marks if it ends below its best floor."""
    point = curve.point
    model = ", ".join(filter(None, (point.of("model"), point.of("variant"))))
    label = f"{short}, {epsilon_name(point.epsilon)}" if point.private else f"{model}, no promise"
    return Line(
        label,
        [
            Mark(float(done), measure.of(value), hollow=point.below(measure.column))
            for done, value in zip(curve.rounds, curve.means[measure.column], strict=True)
        ],
        private=point.private,
    )
