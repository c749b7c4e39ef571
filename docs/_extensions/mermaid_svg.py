"""Mermaid diagrams drawn while the pages are built, as SVG within the page; no script and no browser."""

import re
from typing import Any

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Mermaid(SphinxDirective):
    """A block of Mermaid's source; `accTitle` and `accDescr` in it describe the diagram to screen readers."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """One raw node with the SVG. Raises the directive's error if the source cannot be drawn."""
        number = self.env.new_serialno("mermaid")
        name = f"{self.env.docname.replace('/', '-')}-diagram-{number}"
        try:
            drawing = mermaidx.render("\n".join(self.content)).svg()
        except Exception as error:
            raise self.error(f"Mermaid cannot draw this: {error}") from error
        # Ids are those of the page: two diagrams on it must not share them.
        drawing = re.sub(r"\bmy-svg\b", name, drawing)
        html = f'<figure class="mermaid">{drawing}</figure>'
        return [nodes.raw("", html, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
