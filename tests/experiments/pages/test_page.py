"""The order of a page, its escaping, and that it needs no network."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.pages.page import (
    Bullets,
    Commands,
    Links,
    Page,
    Section,
    Terms,
    Tile,
    render,
    write_page,
)
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table
from terrycloth.models.errors import UserError
from tests.experiments.pages.test_chart import CHART

EVIL = "<script>alert('a title of a shop')</script>"
MORE = [f"A promise {EVIL}", Commands(["terry simulate"])]
ENTRIES = [
    Entry([Cell("linear"), Cell("9.0 (8.5 to 9.5)", 9.0)], MORE, "promise"),
    Entry([Cell("attributes"), Cell("–", -1.0)]),
]
TABLE = Table("Every point", [Column("model"), Column("hits of 100", number=True)], ENTRIES, filtered=True)
PAGE = Page(
    "towels", "Is it worth it?", f"Yes: 16.0 of 100 {EVIL}",
    [Tile("16.0 of 100", "find it", "at ε = 4")], CHART,
    [
        Section("Every point", [TABLE, Links({"frontier.csv": "frontier.csv"})]),
        Section("Columns", ["Text.", Bullets(["one"]), Terms({"data": EVIL}, code=True)], opened=False),
    ],
    ["Below its floor: …"], "versions",
)  # fmt: skip


class Structure(HTMLParser):
    """Collects every element with its attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.opened if name == tag]

    def all(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.opened if attributes.get(attribute)]


@pytest.fixture(scope="module")
def text() -> str:
    return render(PAGE)


def test_the_first_screen_comes_first(text: str) -> None:
    order = [
        "Is it worth it?</h1>",
        "Yes: 16.0",
        "at ε = 4",
        "What does each ε cost?</h2>",
        "Read this first",
        "Every point</h2>",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_everything_on_a_page_is_escaped(text: str) -> None:
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert") == 3
    (values,) = re.findall(r'<script type="application/json">(.*?)</script>', render(PAGE), re.DOTALL)
    assert json.loads(values)["columns"][0]["at"] == "ε = 1"


def test_a_page_needs_no_network(text: str) -> None:
    page = Structure(text)
    assert all(value.startswith(("#", "frontier.csv", "data:")) for value in page.all("href"))
    assert page.all("src") == []
    policy = page.of("meta")[3]["content"]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_ids_are_unique_and_what_refers_to_them_exists(text: str) -> None:
    page = Structure(text)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    referred = [name for attribute in ("aria-labelledby", "aria-describedby") for name in page.all(attribute)]
    anchors = [value[1:] for value in page.all("href") if value.startswith("#")]
    assert set(referred + anchors) <= set(ids)


def test_a_table_has_values_to_sort_by_and_details_below_each_row(text: str) -> None:
    page = Structure(text)
    assert [attributes["data-value"] for attributes in page.of("td") if "data-value" in attributes] == [
        "linear",
        "9.0",
        "attributes",
        "-1.0",
    ]
    assert len([attributes for attributes in page.of("tr") if attributes.get("class") == "more"]) == 1
    assert [attributes.get("aria-sort") for attributes in page.of("th") if "aria-sort" in attributes] == [
        "none",
        "none",
    ]
    assert len(page.of("input")) == 1


def test_the_values_of_a_chart_are_available_with_and_without_a_script(text: str) -> None:
    (script,) = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    values = json.loads(script)
    assert values["columns"][0]["rows"][2] == ["central trust", "9.0 (8.5 to 9.5)", "blue"]
    assert {len(places[0]) for places in values["places"].values()} == {len(values["columns"])} == {3}
    assert "central trust: 9.0 (8.5 to 9.5)" in text.split("<details", 1)[1]


def test_a_closed_section_is_folded(text: str) -> None:
    assert text.count('<details class="section">') == 1


def test_a_page_may_have_only_an_answer() -> None:
    assert "<h1>A question?</h1>" in render(Page("title", "A question?", "An answer."))


def test_a_page_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written .*: choose another --out"):
        write_page(PAGE, tmp_path / "absent" / "index.html", "choose another --out")
