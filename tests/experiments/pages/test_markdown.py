"""A page as Markdown has the same words, and nothing that breaks a table."""

from terrycloth.experiments.pages.markdown import as_markdown
from terrycloth.experiments.pages.page import Bullets, Commands, Links, Page, Section, Terms, Tile
from terrycloth.experiments.pages.table import Cell, Column, Entry, Table

MARKDOWN = """# Title

Why?

Because.

- **1** shopper (of 2)

## Part

Words.

- one

```
terry ls
```

- **ε**: small

- [file](a.csv)

A table.

| what | n |
| --- | ---: |
| a\\|b c | 1 |

End.
"""


def test_every_part_of_a_page_as_markdown() -> None:
    columns = [Column("what"), Column("n", number=True)]
    table = Table("A table.", columns, [Entry([Cell("a|b\nc"), Cell("1")])])
    lists = [Bullets(["one"]), Commands(["terry ls"]), Terms({"ε": "small"}), Links({"file": "a.csv"})]
    page = Page(
        "Title",
        "Why?",
        "Because.",
        [Tile("1", "shopper", "of 2")],
        sections=[Section("Part", ["Words.", *lists, table])],
        footer="End.",
    )
    assert as_markdown(page) == MARKDOWN
