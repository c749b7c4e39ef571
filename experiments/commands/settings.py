"""terry settings: list every setting of a run."""

from typing import Annotated

import typer

EXAMPLE = "Example: terry settings rate"


def settings(
    word: Annotated[str, typer.Argument(help="list only settings with this word in the name or meaning",
                                        show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:  # fmt: skip
    """List every setting, by topic, with its default, what it may be and what it means.

    A setting goes into a TOML file (--config), or is set by its flag or by --set name=value. A setting
    without a default is found by the run, or left out.
    """
    from terrycloth.experiments.reports.settings_list import print_settings

    print_settings(word, as_json=as_json)
