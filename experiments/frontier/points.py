"""Points of a frontier, the mean of its seeds with their spread, and the lines that join them."""

import math
from dataclasses import dataclass
from typing import Any

from experiments.frontier.table import Row
from models.promise import rounded_up

NAMES = {
    "popularity": "popularity",
    "ease": "EASE",
    "ials": "iALS",
    "private_popularity": "private popularity",
    "flower": "Flower's DP strategy",
}


@dataclass(frozen=True)
class Spread:
    """Over the seeds: mean, least and greatest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """The finished cells that differ in nothing but the seed; at least one."""

    rows: tuple[Row, ...]

    def of(self, column: str) -> Any:
        """A column in which the seeds agree."""
        return self.rows[0][column]

    @property
    def epsilon(self) -> float:
        """ε asked for, or that came of the noise; infinite: no promise, or noise that bounds nothing."""
        if self.of("unit") == "none":
            return math.inf
        return self.of("epsilon") or self.of("epsilon_spent") or math.inf

    def spread(self, column: str) -> Spread | None:
        """Of a measured column; None where it was not measured."""
        values = [row[column] for row in self.rows if row[column] is not None]
        if not values:
            return None
        return Spread(math.fsum(values) / len(values), min(values), max(values))

    def mean(self, column: str) -> float | None:
        """Of the seeds."""
        spread = self.spread(column)
        return None if spread is None else spread.mean


@dataclass(frozen=True)
class Line:
    """One model under one promise on one federation: points by rising ε, the last without a promise."""

    label: str
    model: str
    points: tuple[Point, ...]

    @property
    def private(self) -> list[Point]:
        """The points that have a promise."""
        return [point for point in self.points if math.isfinite(point.epsilon)]

    @property
    def free(self) -> Point | None:
        """The point without a promise."""
        return next((point for point in self.points if not math.isfinite(point.epsilon)), None)


@dataclass(frozen=True)
class Federation:
    """All that was measured on one data set at one size."""

    data: str
    devices: int
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """Data and sizes."""
        return f"{self.data}: {self.devices:,} devices, {self.points[0].of('items'):,} items"

    @property
    def deltas(self) -> str:
        """δ of the promises, none of which is shown without it."""
        deltas = {delta for point in self.points if (delta := point.of("delta")) is not None}
        return "δ = " + ", ".join(rounded_up(delta) for delta in sorted(deltas)) if deltas else "no promise"

    @property
    def lines(self) -> list[Line]:
        """A line a model and promise; a model that was only run without one has a line of one point."""
        groups: dict[tuple[Any, ...], list[Point]] = {}
        free: dict[tuple[Any, ...], Point] = {}
        for point in self.points:
            model = (point.of("model"), point.of("variant"))
            if math.isfinite(point.epsilon):
                promise = (point.of("unit"), point.of("trust"), self.telling_delta(point))
                groups.setdefault((*model, *promise), []).append(point)
            elif point.of("unit") == "none" or model not in free:
                free[model] = point
        for model, point in free.items():
            # Settings that only matter under a promise are no part of what is run without one.
            matching = [
                points
                for key, points in groups.items()
                if key[:2] == model or (key[0] == model[0] and not model[1])
            ]
            for points in matching:
                points.append(point)
            if not matching:
                groups[(*model, "none", None, None)] = [point]
        return [
            Line(line_label(*key), key[0], tuple(sorted(points, key=lambda point: point.epsilon)))
            for key, points in groups.items()
        ]

    def curves(self, baseline: str) -> list[Line]:
        """Of a baseline that keeps the promises of the points: a line a promise, by rising ε.

        `private_popularity` is the same beside every model, `flower` is of a model.
        """
        groups: dict[tuple[Any, ...], dict[float, Point]] = {}
        for point in self.points:
            if math.isinf(point.epsilon) or point.mean(f"{baseline}_hr@10") is None:
                continue
            model = (point.of("model"), point.of("variant")) if baseline == "flower" else ("", "")
            key = (*model, point.of("unit"), point.of("trust"), self.telling_delta(point))
            groups.setdefault(key, {}).setdefault(point.epsilon, point)
        return [
            Line(
                ", ".join(filter(None, (NAMES[baseline], line_label(*key)))),
                key[0],
                tuple(points[epsilon] for epsilon in sorted(points)),
            )
            for key, points in groups.items()
        ]

    def telling_delta(self, point: Point) -> float | None:
        """A point's δ where the promises have several, for each makes a line of its own; else None."""
        deltas = {point.of("delta") for point in self.points} - {None}
        return point.of("delta") if len(deltas) > 1 else None

    def beside(self, baseline: str, model: str | None = None) -> Point | None:
        """Where a baseline stands, which is the same beside every point; but the central one is of a model,
        and where settings of the grid are its own too, this is where it is best.
        """
        column = f"{baseline}_hr@10"
        found = [
            point
            for point in self.points
            if model in (None, point.of("model")) and point.of(column) is not None
        ]
        return max(found, key=lambda point: float(point.of(column)), default=None)

    def level(self, baseline: str, metric: str, model: str | None = None) -> float | None:
        """What a baseline reaches; the central one is of a model."""
        point = self.beside(baseline, model)
        level: float | None = None if point is None else point.of(f"{baseline}_{metric}")
        return level


def line_label(model: str, variant: str, unit: str, trust: str | None, delta: float | None) -> str:
    """What a legend says."""
    promise = "no promise" if unit == "none" else f"{unit} level, {trust} trust"
    telling = None if delta is None else f"δ = {rounded_up(delta)}"
    return ", ".join(part for part in (model, variant, promise, telling) if part)


def federations(rows: list[Row]) -> list[Federation]:
    """The finished rows by data set and size, in the grid's order and by size."""
    agree = (
        "data", "devices", "model", "variant", "protocol", "unit", "trust", "epsilon", "epsilon_spent",
        "delta",
    )  # fmt: skip
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "done":
            groups.setdefault(tuple(row[column] for column in agree), []).append(row)
    found: dict[tuple[str, int], list[Point]] = {}
    for (data, devices, *_), group in groups.items():
        found.setdefault((data, devices), []).append(Point(tuple(group)))
    order = list(dict.fromkeys(data for data, _ in found))
    return [
        Federation(data, devices, tuple(points))
        for (data, devices), points in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
        )
    ]


def under(protocol: str, found: list[Federation]) -> list[Federation]:
    """The points under one protocol; a federation that has none is left out."""
    kept = [
        Federation(one.data, one.devices, tuple(p for p in one.points if p.of("protocol") == protocol))
        for one in found
    ]
    return [one for one in kept if one.points]
