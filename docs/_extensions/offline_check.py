"""Fails the build if a page would load a script, a style or a picture from the web: pages work offline."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](?:https?:)?//[^"']+"""
    r"""|<link\b[^>]*\brel=["'](?:stylesheet|preconnect|icon|preload)["'][^>]*\bhref=["'](?:https?:)?//[^"']+"""
    r"""|(?:@import|url\()\s*["']?(?:https?:)?//[^"')]+"""
)


def check(app: Sphinx, error: Exception | None) -> None:
    """Read every page and style sheet that was written."""
    if error is not None or app.builder.format != "html":
        return
    written = (path for path in Path(app.outdir).rglob("*") if path.suffix in {".html", ".css"})
    loads = [
        f"{path.relative_to(app.outdir)}: {loaded}"
        for path in written
        for loaded in LOADED.findall(path.read_text(encoding="utf-8"))
    ]
    if loads:
        raise ExtensionError("pages would load from the web:\n" + "\n".join(loads))


def setup(app: Sphinx) -> dict[str, Any]:
    """Check once everything is written."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
