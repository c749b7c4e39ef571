"""Open a page in Chromium as a reader does, and check it with axe-core."""

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
    """Start a browser; the test is skipped where Chromium or Playwright is not installed."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = DESK, scheme: str = "light") -> Iterator[Any]:
    """Open a page in a window of `width` pixels, and fail the test if its console shows anything."""
    messages: list[str] = []
    # A page's content security policy allows no script of another origin, and axe-core is one.
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True, offline=True
    )
    page = context.new_page()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert messages == []


def violations(page: Any) -> list[str]:
    """Return what axe-core finds wrong, contrast included, with every `details` element open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in axe.Axe().run(page).response["violations"]]


def overflowing(page: Any) -> list[str]:
    """Return what axe-core finds wrong, contrast included, with every `details` element open."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !one.closest("svg");
        }).map(one => `${one.tagName} ${one.className}`)"""
    )
    return found
