"""Docstrings and help texts as the project writes them, turned into Sphinx's nodes.

They are plain text: paragraphs, `code` in backticks, and blocks that are kept as they stand, because they are
indented or align columns by several spaces. No markup is read into them, so that no text can break a build.
"""

import inspect
import re
from collections.abc import Iterator

from docutils import nodes

CODE = re.compile(r"`([^`]+)`")
COLUMNS = re.compile(r"^\S.*?\S {2,}\S")  # a term, two spaces or more, and what it means


def paragraphs(text: str) -> list[nodes.Element]:
    """The nodes of a whole text."""
    return [block(part) for part in re.split(r"\n\s*\n", inspect.cleandoc(text)) if part.strip()]


def block(text: str) -> nodes.Element:
    """The node of one paragraph: literal where its lines are laid out, flowing text elsewhere."""
    lines = text.strip("\n").splitlines()
    indented = any(line.startswith("  ") for line in lines)
    if indented or any(COLUMNS.match(line) for line in lines):
        kept = inspect.cleandoc("\n" + "\n".join(lines))
        literal = nodes.literal_block(kept, kept)
        literal["language"] = "text"
        return literal
    return nodes.paragraph("", "", *inline(" ".join(line.strip() for line in lines)))


def inline(text: str) -> Iterator[nodes.Node]:
    """Text, with what stands in backticks as code."""
    for number, part in enumerate(CODE.split(text)):
        if part:
            yield nodes.literal(part, part) if number % 2 else nodes.Text(part)
