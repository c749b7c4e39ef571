"""The reference of `terry`, from the Typer app itself: what --help shows, as a page."""

from collections.abc import Iterable, Iterator
from typing import Any

import click
import typer
from docutils import nodes
from plain_text import inline, paragraphs
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from terrycloth.experiments.cli import app as terry


def verbs(command: click.Command, words: tuple[str, ...] = ("terry",)) -> Iterator[tuple[str, click.Command]]:
    """Every verb with its full name, in the order of the help; groups only through what they hold."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from verbs(child, (*words, name))
    else:
        yield " ".join(words), command


def panels(command: click.Command) -> dict[str, list[click.Parameter]]:
    """The parameters under the headings that --help puts them under."""
    found: dict[str, list[click.Parameter]] = {}
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        heading = "Arguments" if isinstance(parameter, click.Argument) else "Options"
        found.setdefault(getattr(parameter, "rich_help_panel", None) or heading, []).append(parameter)
    return found


def cells(parameter: click.Parameter) -> tuple[str, str, str]:
    """How a parameter is written, what it means, and its default where --help shows one."""
    if isinstance(parameter, click.Argument):
        name = (parameter.name or "").upper()
        written = name if parameter.required else f"[{name}]"
    else:
        written = " / ".join((*parameter.opts, *parameter.secondary_opts))
        if not getattr(parameter, "is_flag", False):
            written += " " + (parameter.metavar or parameter.type.name.upper())
    default = parameter.default
    shown = isinstance(default, int | float | str) and not isinstance(default, bool) and default != ""
    text = getattr(parameter, "help", None) or ""
    return written, text + (" (required)" if parameter.required else ""), f"{default}" if shown else ""


def table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...], widths: tuple[int, ...]) -> nodes.table:
    """A table whose first column is code."""

    def row(texts: tuple[str, ...], code: bool) -> nodes.row:
        made = nodes.row()
        for number, text in enumerate(texts):
            content = [nodes.literal(text, text)] if code and number == 0 else list(inline(text))
            made += nodes.entry("", nodes.paragraph("", "", *content))
        return made

    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", row(header, code=False))
    group += nodes.tbody("", *(row(texts, code=True) for texts in rows))
    return nodes.table("", group, classes=["colwidths-given"])


class CommandReference(SphinxDirective):
    """One section for each verb: what it does, its parameters by panel, an example."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        made: list[nodes.Node] = []
        for name, command in verbs(typer.main.get_command(terry)):
            section = nodes.section(ids=[name.replace(" ", "-")], names=[name])
            section += nodes.title("", "", nodes.literal(name, name))
            section += paragraphs(command.help or "")
            if command.epilog:
                section += paragraphs(command.epilog.replace("Example: ", "Example: `") + "`")
            for heading, parameters in panels(command).items():
                section += nodes.rubric("", heading)
                section += table(map(cells, parameters), ("flag", "meaning", "default"), (34, 54, 12))
            self.state.document.note_explicit_target(section, section)
            made.append(section)
        return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
