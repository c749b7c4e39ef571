"""Tables of settings from the models that check them: name, type, default, meaning."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from command_reference import table
from docutils import nodes
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def type_name(annotation: Any) -> str:
    """A type in few words; None, which means "not given", is left out."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, parts))
    if parts and (get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"):
        return " | ".join(type_name(part) for part in parts if part is not type(None))
    if get_origin(annotation) is not None:
        return str(annotation).replace("typing.", "")
    return "path" if annotation is Path else getattr(annotation, "__name__", str(annotation))


class SettingsReference(SphinxDirective):
    """`settings-reference` with module:Class as its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table of its fields."""
        module, _, name = self.arguments[0].partition(":")
        model: type[BaseModel] = getattr(import_module(module), name)
        rows = []
        for key, field in model.model_fields.items():
            if field.is_required() or field.default is PydanticUndefined:
                default = "required" if field.is_required() else ""
            else:
                default = "" if field.default is None or field.default == "" else str(field.default)
            rows.append((key, type_name(field.annotation), default, field.description or ""))
        return [table(rows, ("setting", "type", "default", "meaning"), (22, 22, 12, 44))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("settings-reference", SettingsReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
