"""Print the settings of a run for `terry settings`, as tables or as JSON."""

import json
from dataclasses import asdict

from rich.table import Column, Table

from terrycloth.experiments.reports.console import make_console
from terrycloth.experiments.settings.declared import by_topic
from terrycloth.models.errors import UserError


def print_settings(word: str, *, as_json: bool) -> None:
    """Print the settings whose name or meaning holds a word. Raises UserError if there is none."""
    topics = by_topic(word)
    if not topics:
        raise UserError(f"no setting has {word!r} in its name or meaning: terry settings lists them all")
    if as_json:
        rows = [{"topic": topic, **asdict(each)} for topic, settings in topics.items() for each in settings]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    console = make_console()
    for topic, settings in topics.items():
        table = Table(
            Column("setting", no_wrap=True),
            "default",
            "allowed",
            "meaning",
            title=topic,
            title_justify="left",
        )
        for each in settings:
            table.add_row(each.name, each.default, each.allowed, each.meaning)
        console.print(table)
