"""Text alternatives of the figures. They begin with what is below its floor."""

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.frontier.findings import below_floors
from terrycloth.experiments.frontier.points import Federation, Point, Series, family_title
from terrycloth.experiments.frontier.training_curves import TrainingCurve


def describe_frontier(federation: Federation) -> str:
    """Describe HR@10 over the whole catalogue for each series, and the reference levels."""
    text = [
        *below_floor_sentences([federation]),
        f"Accuracy against ε on {federation.title}. {federation.sentence}",
    ]
    text.append("HR@10 over the whole catalogue:")
    text += [f"{series.label}: {along(series)}." for series in federation.all_series]
    text += dict.fromkeys(
        f"The best floor: {floors}." for series in federation.all_series if (floors := floors_along(series))
    )
    text += [f"{curve.label}: {along(curve, 'flower_hr@10')}." for curve in federation.curves("flower")]
    levels = {
        **{label_of(name): federation.level(name, "hr@10") for name in BASELINES},
        **{
            f"central {model}": federation.level("central", "hr@10", model)
            for model in dict.fromkeys(series.model for series in federation.all_series)
        },
        "the ceiling": federation.level("ceiling", "hr@10"),
    }
    known = [f"{name} {level:.3f}" for name, level in levels.items() if level is not None]
    return " ".join([*text, *([f"Reference levels: {', '.join(known)}."] if known else [])])


def describe_sizes(sizes: list[Federation]) -> str:
    """Describe HR@10 of each series at each ε, for each size."""
    text = [
        *below_floor_sentences(sizes),
        f"Accuracy against the number of devices on {family_title(sizes)}. {split_sentences(sizes)}",
    ]
    text.append("HR@10 over the whole catalogue:")
    for federation in sizes:
        text += [
            f"with {federation.devices:,} devices, {series.label}: {along(series)}."
            for series in federation.all_series
        ]
    return " ".join(text)


def describe_bytes(sizes: list[Federation]) -> str:
    """Describe how many bytes a device sends, for each size and series."""
    text = [
        *below_floor_sentences(sizes),
        f"Accuracy against the bytes that a device sends on {family_title(sizes)}.",
    ]
    text.append(split_sentences(sizes))
    for federation in sizes:
        for series in federation.all_series:
            sent = [point.mean("bytes_up_per_device") or 0.0 for point in series.points]
            span = f"{min(sent):,.0f} to {max(sent):,.0f} bytes"
            text.append(f"With {federation.devices:,} devices, {series.label}: {span}.")
    return " ".join(text)


def describe_rounds(sizes: list[tuple[Federation, list[list[TrainingCurve]]]]) -> str:
    """Describe HR@10 of each curve after its first and its last measured round."""
    federations = [federation for federation, _ in sizes]
    text = [
        *below_floor_sentences(federations),
        f"Accuracy against rounds on {family_title(federations)}. {split_sentences(federations)}",
    ]
    text.append("HR@10 over the whole catalogue:")
    for federation, curves_of_series in sizes:
        for series, curves_by_round in zip(federation.all_series, curves_of_series, strict=True):
            text += [
                f"with {federation.devices:,} devices, {series.label}, {at(curve.point)}: "
                f"{curve.means['hr@10'][0]:.3f} after round {curve.rounds[0]}, "
                f"{curve.means['hr@10'][-1]:.3f} after round {curve.rounds[-1]}."
                for curve in curves_by_round
            ]
    return " ".join(text)


def below_floor_sentences(sizes: list[Federation]) -> list[str]:
    """Return the sentences of all federations about series below their floors."""
    return [sentence for federation in sizes for sentence in below_floors(federation)]


def split_sentences(sizes: list[Federation]) -> str:
    """Return what trains and what tests, each sentence once, as dates may differ between sizes."""
    return " ".join(dict.fromkeys(federation.sentence for federation in sizes))


def along(series: Series, column: str = "hr@10") -> str:
    """List HR@10, or the given column of a baseline, at each ε of a series."""
    return ", ".join(f"{mean_of(point, column)} {at(point)}" for point in series.points)


def floors_along(series: Series) -> str:
    """List the best floor at each ε of a series."""
    known = [(point, floor) for point in series.points if (floor := point.floor()) is not None]
    return ", ".join(f"{floor.label} {floor.level:.3f} {at(point)}" for point, floor in known)


def mean_of(point: Point, column: str) -> str:
    """Return the mean of a column over the seeds as text, or “not measured”."""
    mean = point.mean(column)
    return "not measured" if mean is None else f"{mean:.3f}"


def at(point: Point) -> str:
    """Return the place of a point: “at ε = 1” or “without a promise”."""
    return f"at ε = {point.epsilon:g}" if point.private else "without a promise"
