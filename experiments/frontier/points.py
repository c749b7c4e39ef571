"""Points of a frontier, the mean of its seeds with their spread, and the lines that join them."""

import math
import statistics
from dataclasses import dataclass, replace
from typing import Any

from terrycloth.experiments.baselines import label_of
from terrycloth.experiments.evaluation.floors import STRONG, best_floor, floors_of
from terrycloth.experiments.frontier.table import Row
from terrycloth.experiments.settings.split_names import SPLITS
from terrycloth.models.privacy.promise import rounded_up


@dataclass(frozen=True)
class Spread:
    """Over the seeds: mean, least and greatest."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Floor:
    """The floor that reaches most beside a point: its name in the baselines' table, its label, its level."""

    name: str
    label: str
    level: float


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

    def seed_error(self, column: str) -> float:
        """Standard error of the mean over the seeds; 0 of fewer than two, whose noise is not known."""
        values = [row[column] for row in self.rows if row[column] is not None]
        return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0

    def mean(self, column: str) -> float | None:
        """Of the seeds."""
        spread = self.spread(column)
        return None if spread is None else spread.mean

    @property
    def private(self) -> bool:
        """Whether it keeps a promise."""
        return math.isfinite(self.epsilon)

    def floor(self, metric: str = "hr@10") -> Floor | None:
        """The best of its floors by a metric, seeds averaged; None where none was found."""
        levels = {name: self.mean(f"{name}_{metric}") for name in floors_of(self.private)}
        best = best_floor(levels, self.private)
        return None if best is None else Floor(best[0], label_of(best[0]), best[1])

    def below(self, metric: str = "hr@10") -> bool:
        """Whether it is below the best of its floors."""
        floor, own = self.floor(metric), self.mean(metric)
        return floor is not None and own is not None and own < floor.level


@dataclass(frozen=True)
class Line:
    """One model under one promise on one federation: points by rising ε, the last without a promise."""

    label: str
    model: str
    points: tuple[Point, ...]

    @property
    def private(self) -> list[Point]:
        """The points that have a promise."""
        return [point for point in self.points if point.private]

    @property
    def free(self) -> Point | None:
        """The point without a promise."""
        return next((point for point in self.points if not point.private), None)


@dataclass(frozen=True)
class Federation:
    """All that was measured on one data set at one size under one split."""

    data: str
    devices: int
    split: str
    at: str | None
    repeats: bool
    points: tuple[Point, ...]

    @property
    def split_label(self) -> str:
        """The split in few words: date 2011-11-02."""
        return split_label(self.split, [self.at], self.repeats)

    @property
    def sentence(self) -> str:
        """What trains and what tests, in a sentence."""
        sentence: str = self.points[0].of("split_sentence")
        return sentence

    @property
    def title(self) -> str:
        """Data, split and sizes."""
        items = self.points[0].of("items")
        return f"{self.data} by {self.split_label}: {self.devices:,} devices, {items:,} items"

    @property
    def family(self) -> tuple[str, ...]:
        """What federations of several sizes have in common: the data, and the split as it was asked for."""
        asked = self.points[0].of("at_asked")
        return (self.data, self.split, *([asked] if asked else []), *(["repeats"] if self.repeats else []))

    @property
    def published(self) -> bool:
        """Whether the split is that of published tables, beside which 99 sampled negatives are shown."""
        return self.split == "last-item"

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

        `flower` is of a model, any other the same beside every model.
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
                ", ".join(filter(None, (label_of(baseline), line_label(*key)))),
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

    def best_strong(self, metric: str = "hr@10") -> str | None:
        """The strong baseline that reaches most, by its name; None where none was found."""
        levels = {name: level for name in STRONG if (level := self.level(name, metric)) is not None}
        return max(levels, key=lambda name: levels[name], default=None)

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


def split_label(split: str, dates: list[str | None], repeats: bool) -> str:
    """A split in few words, with its dates: date 2011-11-02."""
    known = " and ".join(dict.fromkeys(date for date in dates if date is not None))
    return " ".join(filter(None, (split, known))) + (", repeats counted" if repeats else "")


def family_title(sizes: list[Federation]) -> str:
    """The data and the split of federations that differ in their size alone."""
    one = sizes[0]
    return f"{one.data} by {split_label(one.split, [size.at for size in sizes], one.repeats)}"


def family_heading(sizes: list[Federation]) -> str:
    """Their title, and the δ of their promises, each once."""
    return f"{family_title(sizes)}; {', '.join(dict.fromkeys(size.deltas for size in sizes))}"


def families(found: list[Federation]) -> list[list[Federation]]:
    """Federations that differ in their size alone, together."""
    groups: dict[tuple[str, ...], list[Federation]] = {}
    for federation in found:
        groups.setdefault(federation.family, []).append(federation)
    return list(groups.values())


def federations(rows: list[Row]) -> list[Federation]:
    """The finished rows by data set, split and size: in the grid's order, the split's and by size.

    A split may be asked for in two ways, by its date and as the usual one; what so comes twice counts once.
    """
    where = ("data", "split", "at", "repeats", "devices")
    agree = (
        *where, "model", "variant", "negative_sampling", "unit", "trust", "epsilon", "epsilon_spent", "delta",
    )  # fmt: skip
    groups: dict[tuple[Any, ...], dict[int | None, Row]] = {}
    for row in rows:
        if row["status"] == "done":
            groups.setdefault(tuple(row[column] for column in agree), {}).setdefault(row["seed"], row)
    found: dict[tuple[Any, ...], list[Point]] = {}
    for key, group in groups.items():
        found.setdefault(key[: len(where)], []).append(Point(tuple(group.values())))
    order = list(dict.fromkeys(data for data, *_ in found))

    def place(key: tuple[Any, ...]) -> tuple[Any, ...]:
        data, split, at, repeats, devices = key
        return order.index(data), SPLITS.index(split), repeats, devices, at or ""

    return [
        Federation(
            data, devices, split, at, repeats == "include", tuple(found[data, split, at, repeats, devices])
        )
        for data, split, at, repeats, devices in sorted(found, key=place)
    ]


def under(protocol: str, found: list[Federation]) -> list[Federation]:
    """The points under one protocol; a federation that has none is left out."""
    kept = [
        replace(one, points=tuple(point for point in one.points if point.of("negative_sampling") == protocol))
        for one in found
    ]
    return [one for one in kept if one.points]
