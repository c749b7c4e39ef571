"""What each figure shows, in words: for whoever does not see it. What is below its floor is said first."""

from terrycloth.experiments.baselines import BASELINES, label_of
from terrycloth.experiments.frontier.findings import below_floors
from terrycloth.experiments.frontier.points import Federation, Line, Point, family_title
from terrycloth.experiments.frontier.training_curves import TrainingCurve


def describe_frontier(federation: Federation) -> str:
    """HR@10 over the whole catalogue, line by line, and the levels."""
    said = [*below([federation]), f"Accuracy against ε on {federation.title}. {federation.sentence}"]
    said.append("HR@10 over the whole catalogue:")
    said += [f"{line.label}: {along(line)}." for line in federation.lines]
    said += dict.fromkeys(
        f"The best floor: {floors}." for line in federation.lines if (floors := floors_along(line))
    )
    said += [f"{curve.label}: {along(curve, 'flower_hr@10')}." for curve in federation.curves("flower")]
    levels = {
        **{label_of(name): federation.level(name, "hr@10") for name in BASELINES},
        **{
            f"central {model}": federation.level("central", "hr@10", model)
            for model in dict.fromkeys(line.model for line in federation.lines)
        },
        "the ceiling": federation.level("ceiling", "hr@10"),
    }
    known = [f"{name} {level:.3f}" for name, level in levels.items() if level is not None]
    return " ".join([*said, *([f"Levels: {', '.join(known)}."] if known else [])])


def describe_sizes(sizes: list[Federation]) -> str:
    """HR@10 from ε to ε of each line, size by size."""
    said = [
        *below(sizes),
        f"Accuracy against the number of devices on {family_title(sizes)}. {sentences(sizes)}",
    ]
    said.append("HR@10 over the whole catalogue:")
    for federation in sizes:
        said += [
            f"with {federation.devices:,} devices, {line.label}: {along(line)}." for line in federation.lines
        ]
    return " ".join(said)


def describe_bytes(sizes: list[Federation]) -> str:
    """What a device sends, line by line."""
    said = [*below(sizes), f"Accuracy against the bytes that a device sends on {family_title(sizes)}."]
    said.append(sentences(sizes))
    for federation in sizes:
        for line in federation.lines:
            sent = [point.mean("bytes_up_per_device") or 0.0 for point in line.points]
            span = f"{min(sent):,.0f} to {max(sent):,.0f} bytes"
            said.append(f"With {federation.devices:,} devices, {line.label}: {span}.")
    return " ".join(said)


def describe_rounds(sizes: list[tuple[Federation, list[list[TrainingCurve]]]]) -> str:
    """HR@10 after the first and after the last measured round, curve by curve."""
    found = [federation for federation, _ in sizes]
    said = [*below(found), f"Accuracy against rounds on {family_title(found)}. {sentences(found)}"]
    said.append("HR@10 over the whole catalogue:")
    for federation, of_lines in sizes:
        for line, curves_by_round in zip(federation.lines, of_lines, strict=True):
            said += [
                f"with {federation.devices:,} devices, {line.label}, {at(course.point)}: "
                f"{course.means['hr@10'][0]:.3f} after round {course.rounds[0]}, "
                f"{course.means['hr@10'][-1]:.3f} after round {course.rounds[-1]}."
                for course in curves_by_round
            ]
    return " ".join(said)


def below(sizes: list[Federation]) -> list[str]:
    """What is below its floor, line by line."""
    return [sentence for federation in sizes for sentence in below_floors(federation)]


def sentences(sizes: list[Federation]) -> str:
    """What trains and what tests, each sentence once: dates may differ from size to size."""
    return " ".join(dict.fromkeys(federation.sentence for federation in sizes))


def along(line: Line, column: str = "hr@10") -> str:
    """HR@10 from ε to ε, of a baseline where its column is named."""
    return ", ".join(f"{mean_of(point, column)} {at(point)}" for point in line.points)


def floors_along(line: Line) -> str:
    """The best floor from ε to ε."""
    known = [(point, floor) for point in line.points if (floor := point.floor()) is not None]
    return ", ".join(f"{floor.label} {floor.level:.3f} {at(point)}" for point, floor in known)


def mean_of(point: Point, column: str) -> str:
    """A column of a point, or that there is none."""
    mean = point.mean(column)
    return "not measured" if mean is None else f"{mean:.3f}"


def at(point: Point) -> str:
    """Where a point is."""
    return f"at ε = {point.epsilon:g}" if point.private else "without a promise"
