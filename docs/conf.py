"""Sphinx's configuration: `make docs` builds these pages into build/docs, with warnings as errors."""

import sys
import tomllib
from pathlib import Path

import fastapi  # noqa: F401

# fastapi is loaded above because autodoc imports as type checkers do, under which fastapi cannot be loaded.
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "terrycloth"
author = "The terrycloth authors"
copyright = author
with (HERE.parent / "pyproject.toml").open("rb") as file:
    release = version = tomllib.load(file)["project"]["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.apidoc",
    "sphinx_copybutton",
    "command_reference",
    "mathml",
    "mermaid_svg",
    "offline_check",
    "plain_docstrings",
    "settings_reference",
]
exclude_patterns = ["_extensions"]
suppress_warnings = ["ref.python"]  # a type's short name may stand for several classes: it is then no link

myst_enable_extensions = ["dollarmath", "deflist", "html_image"]
myst_fence_as_directive = ["mermaid"]  # the same source is drawn on GitHub
myst_heading_anchors = 4

apidoc_modules = [
    {
        "path": "../src/terrycloth",
        "destination": "reference/api",
        "follow_links": True,  # src/terrycloth holds links to the four rooms
        "max_depth": 2,
        "module_first": True,
        "no_headings": False,
        "automodule_options": {"members", "show-inheritance"},
    }
]
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_mock_imports = ["rectools"]  # lives in an environment of its own: make install-sequence
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"terrycloth {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"
smartquotes = False  # they would make one dash of the two before a flag
copybutton_exclude = ".linenos, .gp, .go"
