"""Autodoc's docstrings are read as plain text (`plain_text`), never as reStructuredText."""

from typing import Any

from docutils import nodes
from plain_text import paragraphs
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class PlainText(SphinxDirective):
    """`.. plain-text::` shows its content as `plain_text` reads it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The nodes of the content."""
        return list(paragraphs("\n".join(self.content)))


def wrap(_app: Sphinx, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Put a docstring's lines into the directive."""
    if any(line.strip() for line in lines):
        lines[:] = [".. plain-text::", "", *(f"   {line}" for line in lines), ""]


def without_fields(
    _app: Sphinx, what: str, _name: str, thing: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Settings have dozens of fields, which the settings' own page lists: leave them out of signatures."""
    if what == "class" and isinstance(thing, type) and issubclass(thing, BaseModel):
        return "", None
    return signature, returns


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and hang it between autodoc and the pages."""
    app.add_directive("plain-text", PlainText)
    app.connect("autodoc-process-docstring", wrap)
    app.connect("autodoc-process-signature", without_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
