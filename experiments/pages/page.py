"""A page: a question, its answer in a sentence with a number, a few key numbers, one chart, and the details.

    page = Page(
        title="towels: 2,000 shoppers",
        question="What does privacy cost?",
        answer="At ε = 2, 18.2 of 100 shoppers find what they buy next, and 20.1 without privacy.",
        tiles=[Tile("18.2 of 100", "find their next purchase", "at ε = 2")],
        chart=chart,
        sections=[Section("Every run", [table]), Section("Columns", [Terms({"ε": "…"})], opened=False)],
    )
    write_page(page, Path("index.html"))

Every text is escaped, so titles of a shop's catalogue can be passed as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from terrycloth.experiments.pages.chart import Chart
from terrycloth.experiments.pages.colours import COLOURS, variable
from terrycloth.experiments.pages.drawing import NARROW, WIDE, looks_of, picture
from terrycloth.experiments.pages.table import Table
from terrycloth.experiments.runs.files import write_whole


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Commands:
    """Lines to be typed into a terminal."""

    lines: Sequence[str]
    kind: ClassVar[str] = "commands"


@dataclass(frozen=True)
class Terms:
    """Descriptions by name. code: whether the names are identifiers."""

    of: Mapping[str, str]
    code: bool = False
    kind: ClassVar[str] = "terms"


@dataclass(frozen=True)
class Links:
    """Addresses by the words that lead to them."""

    to: Mapping[str, str]
    kind: ClassVar[str] = "links"


# A text is a paragraph.
Part = str | Bullets | Commands | Terms | Links | Table | Chart


@dataclass(frozen=True)
class Tile:
    """A key number with its unit, what it counts, and where it holds or what it means."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page below its first screen. opened: whether its contents show without a press."""

    title: str
    parts: Sequence[Part]
    opened: bool = True

    @property
    def id(self) -> str:
        """The id of its heading."""
        return "section-" + re.sub(r"\W+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A page. The first four and the chart are its first screen.

    title: what the page is about, in a few words. answer: one plain sentence with its number. alert: what a
    reader must not overlook, such as a weak result. footer: versions and what repeats the page.
    """

    title: str
    question: str
    answer: str
    tiles: Sequence[Tile] = ()
    chart: Chart | None = None
    sections: Sequence[Section] = ()
    alert: Sequence[str] = ()
    footer: str = ""


def write_page(page: Page, path: Path, remedy: str | None = None) -> None:
    """Write a page as one HTML file that needs no network, in one step.

    remedy: what the user can do if the file cannot be written. Raises UserError with it if it is given,
    else OSError.
    """
    write_whole(path, render(page), remedy)


def render(page: Page) -> str:
    """Return a page as HTML."""
    environment = Environment(
        loader=PackageLoader("terrycloth.experiments.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = drawn
    return environment.get_template("page.html").render(page=page, colours=COLOURS)


def drawn(chart: Chart) -> dict[str, Any]:
    """Return a chart as the template needs it: its pictures, and its values as `page.js` reads them."""
    pictures = {"wide": picture(chart, WIDE, "wide"), "narrow": picture(chart, NARROW, "narrow")}
    colours = {label: variable(colour) for label, (colour, _) in looks_of(chart).items()}
    return {
        "svgs": {size: Markup(one.svg) for size, one in pictures.items()},
        "values": {
            "places": {size: [one.xs, one.top, one.bottom] for size, one in pictures.items()},
            "columns": [
                {
                    "at": chart.at(x),
                    "rows": [[label, value, colours.get(label, "grey")] for label, value in chart.values(x)],
                }
                for x in chart.xs
            ],
        },
    }
