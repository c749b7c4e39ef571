"""What each figure shows, in words: for whoever does not see it. What is below its floor is said first."""

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.frontier.findings import below_floors
from terrycloth.experiments.frontier.points import Federation, Series, Point, family_title
from terrycloth.experiments.frontier.training_curves import TrainingCurve


def describe_frontier(federation: Federation) -> str:
    """HR@10 over the whole catalogue, line by series, and the levels."""
    said = [*below_floor_sentences([federation]), f"Accuracy against ε on {federation.title}. {federation.sentence}"]
    said.append("HR@10 over the whole catalogue:")
    said += [f"{series.label}: {along(series)}." for series in federation.all_series]
    said += dict.fromkeys(
        f"The best floor: {floors}." for series in federation.all_series if (floors := floors_along(series))
    )
    said += [f"{curve.label}: {along(curve, 'flower_hr@10')}." for curve in federation.curves("flower")]
    levels = {
        **{label_of(name): federation.level(name, "hr@10") for name in BASELINES},
        **{
            f"central {model}": federation.level("central", "hr@10", model)
            for model in dict.fromkeys(series.model for series in federation.all_series)
        },
        "the ceiling": federation.level("ceiling", "hr@10"),
    }
    known = [f"{name} {level:.3f}" for name, level in levels.items() if level is not None]
    return " ".join([*said, *([f"Levels: {', '.join(known)}."] if known else [])])


def describe_sizes(sizes: list[Federation]) -> str:
    """HR@10 from ε to ε of each series, size by size."""
    said = [
        *below_floor_sentences(sizes),
        f"Accuracy against the number of devices on {family_title(sizes)}. {split_sentences(sizes)}",
    ]
    said.append("HR@10 over the whole catalogue:")
    for federation in sizes:
        said += [
            f"with {federation.devices:,} devices, {series.label}: {along(series)}." for series in federation.all_series
        ]
    return " ".join(said)


def describe_bytes(sizes: list[Federation]) -> str:
    """What a device sends, line by series."""
    said = [*below_floor_sentences(sizes), f"Accuracy against the bytes that a device sends on {family_title(sizes)}."]
    said.append(split_sentences(sizes))
    for federation in sizes:
        for series in federation.all_series:
            sent = [point.mean("bytes_up_per_device") or 0.0 for point in series.points]
            span = f"{min(sent):,.0f} to {max(sent):,.0f} bytes"
            said.append(f"With {federation.devices:,} devices, {series.label}: {span}.")
    return " ".join(said)


def describe_rounds(sizes: list[tuple[Federation, list[list[TrainingCurve]]]]) -> str:
    """HR@10 after the first and after the last measured round, curve by curve."""
    found = [federation for federation, _ in sizes]
    said = [*below_floor_sentences(found), f"Accuracy against rounds on {family_title(found)}. {split_sentences(found)}"]
    said.append("HR@10 over the whole catalogue:")
    for federation, curves_of_series in sizes:
        for series, curves_by_round in zip(federation.all_series, curves_of_series, strict=True):
            said += [
                f"with {federation.devices:,} devices, {series.label}, {at(curve.point)}: "
                f"{curve.means['hr@10'][0]:.3f} after round {curve.rounds[0]}, "
                f"{curve.means['hr@10'][-1]:.3f} after round {curve.rounds[-1]}."
                for curve in curves_by_round
            ]
    return " ".join(said)


def below_floor_sentences(sizes: list[Federation]) -> list[str]:
    """What is below its floor, line by series."""
    return [sentence for federation in sizes for sentence in below_floors(federation)]


def split_sentences(sizes: list[Federation]) -> str:
    """What trains and what tests, each sentence once: dates may differ from size to size."""
    return " ".join(dict.fromkeys(federation.sentence for federation in sizes))


def along(series: Series, column: str = "hr@10") -> str:
    """HR@10 from ε to ε, of a baseline where its column is named."""
    return ", ".join(f"{mean_of(point, column)} {at(point)}" for point in series.points)


def floors_along(series: Series) -> str:
    """The best floor from ε to ε."""
    known = [(point, floor) for point in series.points if (floor := point.floor()) is not None]
    return ", ".join(f"{floor.label} {floor.level:.3f} {at(point)}" for point, floor in known)


def mean_of(point: Point, column: str) -> str:
    """A column of a point, or that there is none."""
    mean = point.mean(column)
    return "not measured" if mean is None else f"{mean:.3f}"


def at(point: Point) -> str:
    """Where a point is."""
    return f"at ε = {point.epsilon:g}" if point.private else "without a promise"
