"""Tables of settings from the models that check them: name, what is allowed, default, meaning."""

from importlib import import_module
from typing import Any

from command_reference import table
from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from terrycloth.experiments.settings.declared import settings_of


class SettingsReference(SphinxDirective):
    """`settings-reference` with module:Class as its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table of its fields."""
        module, _, name = self.arguments[0].partition(":")
        model: type[BaseModel] = getattr(import_module(module), name)
        rows = [(each.name, each.allowed, each.default, each.meaning) for each in settings_of(model)]
        return [table(rows, ("setting", "allowed", "default", "meaning"), (22, 22, 12, 44))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("settings-reference", SettingsReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
