"""The points of a frontier, and the series and federations that they form.

A point is the mean over the seeds of one setting; a series joins the points of one model and promise.
"""

import math
import statistics
from dataclasses import dataclass, replace
from typing import Any

from terrycloth.experiments.baselines import label_of
from terrycloth.experiments.baselines.floors import STRONG, best_floor, floors_of
from terrycloth.experiments.frontier.table import Row
from terrycloth.experiments.settings.split_names import SPLITS
from terrycloth.models.privacy.promise import rounded_up

POPULAR = ("popularity", "recent_popularity")  # the same items for everyone


@dataclass(frozen=True)
class Spread:
    """The mean, the lowest and the highest value over the seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Floor:
    """The best floor of a point: its name in BASELINES, its label and its accuracy."""

    name: str
    label: str
    level: float


@dataclass(frozen=True)
class Point:
    """The finished cells that differ only in the seed; at least one."""

    rows: tuple[Row, ...]

    def of(self, column: str) -> Any:
        """Return a column that has the same value for every seed."""
        return self.rows[0][column]

    @property
    def epsilon(self) -> float:
        """The requested ε or that of the given noise; ∞ without a promise or if the noise bounds nothing."""
        if self.of("unit") == "none":
            return math.inf
        return self.of("epsilon") or self.of("epsilon_spent") or math.inf

    def spread(self, column: str) -> Spread | None:
        """Return the spread of a measured column; None if it was not measured."""
        values = [row[column] for row in self.rows if row[column] is not None]
        if not values:
            return None
        return Spread(math.fsum(values) / len(values), min(values), max(values))

    def seed_error(self, column: str) -> float:
        """Return the standard error of the mean over the seeds; 0 with fewer than two: it is unknown."""
        values = [row[column] for row in self.rows if row[column] is not None]
        return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0

    def mean(self, column: str) -> float | None:
        """Return the mean of a measured column over the seeds; None if it was not measured."""
        spread = self.spread(column)
        return None if spread is None else spread.mean

    @property
    def private(self) -> bool:
        """Whether the point keeps a promise."""
        return math.isfinite(self.epsilon)

    def floor(self, metric: str = "hr@10") -> Floor | None:
        """Return the best floor by a metric, averaged over the seeds; None if none was measured."""
        levels = {name: self.mean(f"{name}_{metric}") for name in floors_of(self.private)}
        best = best_floor(levels, self.private)
        return None if best is None else Floor(best[0], label_of(best[0]), best[1])

    def below(self, metric: str = "hr@10") -> bool:
        """Whether the point is below its best floor."""
        floor, own = self.floor(metric), self.mean(metric)
        return floor is not None and own is not None and own < floor.level


@dataclass(frozen=True)
class Series:
    """The points of one model under one promise on one federation, by rising ε.

    The last point may be the same model without a promise.
    """

    label: str
    model: str
    points: tuple[Point, ...]

    @property
    def private(self) -> list[Point]:
        """The points with a promise."""
        return [point for point in self.points if point.private]

    @property
    def free(self) -> Point | None:
        """The point without a promise, or None."""
        return next((point for point in self.points if not point.private), None)


@dataclass(frozen=True)
class Federation:
    """Everything that was measured on one data set, at one size and with one split."""

    data: str
    devices: int
    split: str
    at: str | None
    repeats: bool
    points: tuple[Point, ...]

    @property
    def split_label(self) -> str:
        """The split in a few words: date 2011-11-02."""
        return split_label(self.split, [self.at], self.repeats)

    @property
    def sentence(self) -> str:
        """A sentence that says what is used for training and what for testing."""
        sentence: str = self.points[0].of("split_sentence")
        return sentence

    @property
    def title(self) -> str:
        """Data, split, and the numbers of devices and items."""
        items = self.points[0].of("items")
        return f"{self.data}, split by {self.split_label}: {self.devices:,} devices, {items:,} items"

    @property
    def family(self) -> tuple[str, ...]:
        """What federations of several sizes have in common: the data, and the split as it was requested."""
        at = self.points[0].of("at_asked")
        return (self.data, self.split, *([at] if at else []), *(["repeats"] if self.repeats else []))

    @property
    def published(self) -> bool:
        """Whether published tables use this split; ranks among 99 sampled negatives are then shown too."""
        return self.split == "last-item"

    @property
    def deltas(self) -> str:
        """δ of the promises, shown wherever a promise is."""
        deltas = {delta for point in self.points if (delta := point.of("delta")) is not None}
        return "δ = " + ", ".join(rounded_up(delta) for delta in sorted(deltas)) if deltas else "no promise"

    @property
    def all_series(self) -> list[Series]:
        """One series per model and promise; a model that was run only without one has a single point."""
        groups: dict[tuple[Any, ...], list[Point]] = {}
        free: dict[tuple[Any, ...], Point] = {}
        for point in self.points:
            model = (point.of("model"), point.of("variant"))
            if math.isfinite(point.epsilon):
                promise = (point.of("unit"), point.of("trust"), self.distinguishing_delta(point))
                groups.setdefault((*model, *promise), []).append(point)
            elif point.of("unit") == "none" or model not in free:
                free[model] = point
        for model, point in free.items():
            # Settings that matter only under a promise do not describe a run without one.
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
            Series(series_label(*key), key[0], tuple(sorted(points, key=lambda point: point.epsilon)))
            for key, points in groups.items()
        ]

    def curves(self, baseline: str) -> list[Series]:
        """Return the series of a baseline that keeps the promises of the points, one series per promise.

        The baseline `flower` has one series per model and promise; any other is the same for every model.
        """
        groups: dict[tuple[Any, ...], dict[float, Point]] = {}
        for point in self.points:
            if math.isinf(point.epsilon) or point.mean(f"{baseline}_hr@10") is None:
                continue
            model = (point.of("model"), point.of("variant")) if baseline == "flower" else ("", "")
            key = (*model, point.of("unit"), point.of("trust"), self.distinguishing_delta(point))
            groups.setdefault(key, {}).setdefault(point.epsilon, point)
        return [
            Series(
                ", ".join(filter(None, (label_of(baseline), series_label(*key)))),
                key[0],
                tuple(points[epsilon] for epsilon in sorted(points)),
            )
            for key, points in groups.items()
        ]

    def distinguishing_delta(self, point: Point) -> float | None:
        """Return the δ of a point if promises differ in nothing else, as each then has its own series."""
        promise = ("model", "variant", "unit", "trust")
        deltas = {
            other.of("delta")
            for other in self.points
            if all(other.of(column) == point.of(column) for column in promise)
        }
        return point.of("delta") if len(deltas) > 1 else None

    def beside(self, baseline: str, model: str | None = None) -> Point | None:
        """Return the point with the best HR@10 of a baseline without a promise; None if it was not measured.

        Such a baseline is usually the same for every point. The central model depends on the model, and may
        share settings that differ over the grid.
        """
        column = f"{baseline}_hr@10"
        points = [
            point
            for point in self.points
            if model in (None, point.of("model")) and point.of(column) is not None
        ]
        return max(points, key=lambda point: float(point.of(column)), default=None)

    def best_strong(self, metric: str = "hr@10") -> str | None:
        """Return the name of the strong baseline with the best metric; None if none was measured."""
        levels = {name: level for name in STRONG if (level := self.level(name, metric)) is not None}
        return max(levels, key=lambda name: levels[name], default=None)

    def level(self, baseline: str, metric: str, model: str | None = None) -> float | None:
        """Return the metric of a baseline without a promise; for the central model, name the model too."""
        point = self.beside(baseline, model)
        level: float | None = None if point is None else point.of(f"{baseline}_{metric}")
        return level


def popular_level(federation: Federation, metric: str = "hr@10") -> Floor | None:
    """Return the best baseline without a promise that recommends the same items to everyone."""
    levels = [
        Floor(name, label_of(name), level)
        for name in POPULAR
        if (level := federation.level(name, metric)) is not None
    ]
    return max(levels, key=lambda floor: floor.level, default=None)


def labels_of(sizes: list[Federation]) -> list[str]:
    """Return the labels of all series of some federations, each once."""
    return list(dict.fromkeys(series.label for federation in sizes for series in federation.all_series))


def series_label(model: str, variant: str, unit: str, trust: str | None, delta: float | None) -> str:
    """Return the label of a series in a legend."""
    promise = "no promise" if unit == "none" else f"{unit} level, {trust} trust"
    shown_delta = None if delta is None else f"δ = {rounded_up(delta)}"
    return ", ".join(part for part in (model, variant, promise, shown_delta) if part)


def split_label(split: str, dates: list[str | None], repeats: bool) -> str:
    """Return a split in a few words, with its dates: date 2011-11-02."""
    known = " and ".join(dict.fromkeys(date for date in dates if date is not None))
    return " ".join(filter(None, (split, known))) + (", repeats counted" if repeats else "")


def family_title(sizes: list[Federation]) -> str:
    """Return the data and the split of federations that differ only in size."""
    one = sizes[0]
    return f"{one.data}, split by {split_label(one.split, [size.at for size in sizes], one.repeats)}"


def family_heading(sizes: list[Federation]) -> str:
    """Return the title of such federations, and each δ of their promises once."""
    return f"{family_title(sizes)}; {', '.join(dict.fromkeys(size.deltas for size in sizes))}"


def families(federations: list[Federation]) -> list[list[Federation]]:
    """Group the federations that differ only in size."""
    groups: dict[tuple[str, ...], list[Federation]] = {}
    for federation in federations:
        groups.setdefault(federation.family, []).append(federation)
    return list(groups.values())


def make_federations(rows: list[Row]) -> list[Federation]:
    """Group the finished rows into federations: by data set in the grid's order, by split and by size.

    A grid may request the same split twice, by its date and as the usual one; such a run counts once.
    """
    where = ("data", "split", "at", "repeats", "devices")
    agree = (
        *where, "model", "variant", "negative_sampling", "unit", "trust", "epsilon", "epsilon_spent", "delta",
    )  # fmt: skip
    groups: dict[tuple[Any, ...], dict[int | None, Row]] = {}
    for row in rows:
        if row["status"] == "done":
            groups.setdefault(tuple(row[column] for column in agree), {}).setdefault(row["seed"], row)
    points: dict[tuple[Any, ...], list[Point]] = {}
    for key, group in groups.items():
        points.setdefault(key[: len(where)], []).append(Point(tuple(group.values())))
    order = list(dict.fromkeys(data for data, *_ in points))

    def place(key: tuple[Any, ...]) -> tuple[Any, ...]:
        data, split, at, repeats, devices = key
        return order.index(data), SPLITS.index(split), repeats, devices, at or ""

    return [
        Federation(
            data, devices, split, at, repeats == "include", tuple(points[data, split, at, repeats, devices])
        )
        for data, split, at, repeats, devices in sorted(points, key=place)
    ]


def under(sampling: str, federations: list[Federation]) -> list[Federation]:
    """Keep the points with one kind of negative sampling, clean or leaky; drop federations without any."""
    kept = [
        replace(one, points=tuple(point for point in one.points if point.of("negative_sampling") == sampling))
        for one in federations
    ]
    return [one for one in kept if one.points]
