"""A page in a browser: nothing overflows, text is legible, and values are reached by pointer and keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terrycloth.experiments.pages.page import write_page
from tests.browser import DESK, PHONE, chromium, opened, overflowing, violations
from tests.experiments.pages.test_page import PAGE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(PAGE, path)
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_overflows_and_axe_finds_nothing(width: int, scheme: str, browser: Any, path: Path) -> None:
    with opened(browser, path, width, scheme) as page:
        assert violations(page) == []
        assert overflowing(page) == []
        shown = [size for size in ("wide", "narrow") if page.locator(f".{size} svg").is_visible()]
        assert shown == ["narrow" if width == PHONE else "wide"]


def test_values_are_shown_by_pointer_and_by_arrow_keys(browser: Any, path: Path) -> None:
    with opened(browser, path) as page:
        slider, tip = page.get_by_role("slider"), page.locator(".tip")
        assert not tip.is_visible()
        box = slider.bounding_box()
        page.mouse.move(box["x"] + 80, box["y"] + 100)
        assert tip.inner_text().splitlines()[0] == "ε = 1"
        assert "9.0 (8.5 to 9.5)" in tip.inner_text()
        page.mouse.move(box["x"] + 80, box["y"] - 50)
        assert not tip.is_visible()
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert tip.inner_text().splitlines()[0] == "4"
        assert slider.get_attribute("aria-valuetext").startswith("4: central trust 16.0; ")
        page.keyboard.press("End")
        assert tip.inner_text().splitlines()[0] == "no promise"
        page.keyboard.press("Escape")
        assert not tip.is_visible()


def test_a_table_is_sorted_and_filtered(browser: Any, path: Path) -> None:
    with opened(browser, path) as page:
        heading = page.get_by_role("columnheader", name="hits of 100")
        cells = page.locator("tbody tr:not(.more) td:first-child")
        for order, first in (("ascending", "attributes"), ("descending", "linear")):
            heading.get_by_role("button").press("Enter")
            assert heading.get_attribute("aria-sort") == order
            assert cells.all_inner_texts()[0] == first
        page.get_by_role("searchbox").fill("LIN promise")
        assert [one.is_visible() for one in cells.all()] == [True, False]
        assert page.get_by_role("status").inner_text() == "1 of 2 rows"


def test_in_print_everything_is_expanded_and_light(browser: Any, path: Path) -> None:
    with opened(browser, path, PHONE, "dark") as page:
        page.emulate_media(media="print")
        assert page.get_by_text("terry simulate").is_visible()
        assert page.locator(".wide svg").is_visible()
        assert not page.get_by_role("searchbox").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_link_to_a_folded_section_opens_it(browser: Any, path: Path) -> None:
    with opened(browser, path) as page:
        assert not page.get_by_text("Text.").is_visible()
        page.get_by_role("link", name="Columns").click()
        assert page.get_by_text("Text.").is_visible()
