"""A page as a person meets it: in Chromium, by pointer and by keyboard, and checked by axe-core."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESK = 390, 1280  # pixels


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of its own; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = DESK, scheme: str = "light") -> Iterator[Any]:
    """A page in a window of a width. A message of the console or an error of a script fails the test."""
    said: list[str] = []
    # The policy of a page allows no script of another origin, and so not axe-core either.
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True, offline=True
    )
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert said == []


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong, contrast included, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in axe.Axe().run(page).response["violations"]]


def sideways(page: Any) -> list[str]:
    """What reaches beyond the right edge of the window."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !one.closest("svg");
        }).map(one => `${one.tagName} ${one.className}`)"""
    )
    return found
