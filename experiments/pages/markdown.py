"""A page as Markdown, for repositories and model hubs."""

from collections.abc import Iterator

from terrycloth.experiments.pages.chart import Chart
from terrycloth.experiments.pages.page import Bullets, Commands, Links, Page, Part, Terms
from terrycloth.experiments.pages.table import Table


def as_markdown(page: Page) -> str:
    """Return a page as Markdown: the same words and tables, and of its charts the values."""
    lines = [f"# {page.title}", "", page.question, "", page.answer, ""]
    lines += [
        f"- **{tile.value}** {tile.label}{f' ({tile.note})' if tile.note else ''}" for tile in page.tiles
    ]
    lines += ["", *page.alert] if page.alert else []
    for section in page.sections:
        lines += ["", f"## {section.title}"]
        for part in section.parts:
            lines += ["", *of_part(part)]
    return "\n".join([*lines, "", page.footer, ""])


def of_part(part: Part) -> Iterator[str]:
    """Yield the lines of one part."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Bullets):
        yield from (f"- {item}" for item in part.items)
    elif isinstance(part, Commands):
        yield from ("```", *part.lines, "```")
    elif isinstance(part, Terms):
        yield from (f"- **{name}**: {text}" for name, text in part.of.items())
    elif isinstance(part, Links):
        yield from (f"- [{words}]({address})" for words, address in part.to.items())
    elif isinstance(part, Chart):
        yield from (part.title, "", part.alternative)
    else:
        yield from of_table(part)


def of_table(table: Table) -> Iterator[str]:
    """Yield the lines of a table."""
    yield from (table.caption, "")
    yield row([column.title for column in table.columns])
    yield row(["---:" if column.number else "---" for column in table.columns])
    for entry in table.entries:
        yield row([cell.text for cell in entry.cells])


def row(cells: list[str]) -> str:
    """Return one row of a table. A cell cannot hold a bar or a line break."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
