"""What each figure shows, in words: for whoever does not see it."""

import math

from experiments.frontier.courses import Course
from experiments.frontier.points import NAMES, Federation, Line, Point


def describe_frontier(federation: Federation) -> str:
    """HR@10 over the whole catalogue, line by line, and the levels."""
    said = [f"Accuracy against ε on {federation.title}. HR@10 over the whole catalogue:"]
    said += [f"{line.label}: {along(line)}." for line in federation.lines]
    for baseline in ("private_popularity", "flower"):
        for curve in federation.curves(baseline):
            said.append(f"{curve.label}: {along(curve, f'{baseline}_hr@10')}.")
    levels = {
        **{NAMES[name]: federation.level(name, "hr@10") for name in ("popularity", "ease", "ials")},
        **{
            f"central {model}": federation.level("central", "hr@10", model)
            for model in dict.fromkeys(line.model for line in federation.lines)
        },
        "the ceiling": federation.level("ceiling", "hr@10"),
    }
    said += [
        "Levels: "
        + ", ".join(f"{name} {level:.3f}" for name, level in levels.items() if level is not None)
        + "."
    ]
    return " ".join(said)


def describe_sizes(sizes: list[Federation]) -> str:
    """HR@10 from ε to ε of each line, size by size."""
    said = [f"Accuracy against the number of devices on {sizes[0].data}. HR@10 over the whole catalogue:"]
    for federation in sizes:
        said += [
            f"with {federation.devices:,} devices, {line.label}: {along(line)}." for line in federation.lines
        ]
    return " ".join(said)


def describe_bytes(sizes: list[Federation]) -> str:
    """What a device sends, line by line."""
    said = [f"Accuracy against the bytes that a device sends on {sizes[0].data}."]
    for federation in sizes:
        for line in federation.lines:
            sent = [point.mean("bytes_up_per_device") or 0.0 for point in line.points]
            span = f"{min(sent):,.0f} to {max(sent):,.0f} bytes"
            said.append(f"With {federation.devices:,} devices, {line.label}: {span}.")
    return " ".join(said)


def describe_rounds(data: str, sizes: list[tuple[Federation, list[list[Course]]]]) -> str:
    """HR@10 after the first and after the last measured round, curve by curve."""
    said = [f"Accuracy against rounds on {data}. HR@10 over the whole catalogue:"]
    for federation, of_lines in sizes:
        for line, found in zip(federation.lines, of_lines, strict=True):
            said += [
                f"with {federation.devices:,} devices, {line.label}, {at(course.point)}: "
                f"{course.means['hr@10'][0]:.3f} after round {course.rounds[0]}, "
                f"{course.means['hr@10'][-1]:.3f} after round {course.rounds[-1]}."
                for course in found
            ]
    return " ".join(said)


def along(line: Line, column: str = "hr@10") -> str:
    """HR@10 from ε to ε, of a baseline where its column is named."""
    return ", ".join(f"{mean_of(point, column)} {at(point)}" for point in line.points)


def mean_of(point: Point, column: str) -> str:
    """A column of a point, or that there is none."""
    mean = point.mean(column)
    return "not measured" if mean is None else f"{mean:.3f}"


def at(point: Point) -> str:
    """Where a point is."""
    return "without a promise" if math.isinf(point.epsilon) else f"at ε = {point.epsilon:g}"
