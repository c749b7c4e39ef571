"""A chart as data: what is shown, not how. `drawing` draws it, for a page and for a paper.

One chart answers one question. Its private lines are in colour, and all else is grey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Mark:
    """One value of a line. Units are those of the chart's axes.

    low, high: the range over the seeds, if there is one. hollow: whether the value is below its floor.
    apart: whether it is of another kind than the marks before it; a dotted line leads to it. name: what sets
    it apart from other marks of its line at the same x, where values are listed.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    apart: bool = False
    name: str = ""


@dataclass(frozen=True)
class Line:
    """A line, named at its end. private: whether it keeps a promise, and so is in colour.

    dashed: whether it is dashed, to tell a grey line from another. joined: whether its marks are joined.
    """

    label: str
    marks: Sequence[Mark]
    private: bool = True
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Level:
    """A value that is the same everywhere: a grey horizontal line, named at its end."""

    label: str
    y: float


@dataclass(frozen=True)
class Step:
    """A part of the floor: its height from one x to another."""

    start: float
    end: float
    y: float


@dataclass(frozen=True)
class Chart:
    """One chart, with the words around it.

    name: the name of its files, and its id on a page; unique on the page. title: the question that it
    answers. summary: what it shows in a sentence or two, above it. note: what a reader has to know to read
    it, below. alternative: its values in words. x_label, y_label: the axes, with their units. ticks: the
    label of each tick of the x axis, by its place; empty: chosen from the values. names: what an x is
    called where its values are listed; without a name, its tick. form: how a value is written. floor: the
    shaded area, and floor_label what it means. files: addresses, by the words that link to them. log_x:
    whether the x axis is logarithmic.
    """

    name: str
    title: str
    summary: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    floor: Sequence[Step] = ()
    floor_label: str = ""
    ticks: Mapping[float, str] = field(default_factory=dict)
    names: Mapping[float, str] = field(default_factory=dict)
    form: str = "{:.1f}"
    note: str = ""
    alternative: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    log_x: bool = False
    kind: ClassVar[str] = "chart"

    @property
    def xs(self) -> list[float]:
        """Every x at which a line has a value, ascending."""
        return sorted({mark.x for line in self.lines for mark in line.marks})

    def at(self, x: float) -> str:
        """Return an x in words: its name, else the label of its tick, else the number."""
        return self.names.get(x) or self.ticks.get(x) or f"{x:,g}"

    def values(self, x: float) -> list[tuple[str, str]]:
        """Return the label and the value of everything that has one at an x, the largest first."""
        found = [
            (mark.y, f"{line.label}, {mark.name}" if mark.name else line.label, self.written(mark))
            for line in self.lines
            for mark in line.marks
            if mark.x == x
        ]
        found += [(level.y, level.label, self.form.format(level.y)) for level in self.levels]
        found += [
            (step.y, self.floor_label, self.form.format(step.y))
            for step in self.floor
            if step.start <= x < step.end
        ]
        return [(label, value) for _, label, value in sorted(found, key=lambda one: -one[0])]

    def written(self, mark: Mark) -> str:
        """Return a value and, if the seeds differ, their range: “18.2 (17.9 to 18.4)”."""
        text = self.form.format(mark.y)
        if mark.low is None or mark.high is None or mark.low == mark.high:
            return text
        return f"{text} ({self.form.format(mark.low)} to {self.form.format(mark.high)})"
