"""terry try: would private personalisation help a shop, and what would it cost?"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from terrycloth.experiments.commands.flags import (
    At,
    Category,
    Devices,
    Format,
    ItemColumn,
    KeepGuests,
    OrderColumn,
    Repeats,
    ShopperColumn,
    Strict,
    TimeColumn,
    TitleColumn,
    UnknownItems,
    Visit,
    WeightColumn,
    setting,
)
from terrycloth.experiments.commands.stopping import when_stopped
from terrycloth.experiments.settings.config import DATA_SETTINGS, FLAGS, read_config

EXAMPLE = "Example: terry try orders.csv --catalogue items.csv"


def try_orders(
    orders: Annotated[Path | None, typer.Argument(help="the order export: CSV, Parquet or Excel",
                                                  show_default=False)] = None,
    catalogue: Annotated[Path | None, setting("catalogue", "Data")] = None,
    data: Annotated[str | None, setting("data", "Data")] = None,
    category: Category = None,
    devices: Devices = None,
    shopper_column: ShopperColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    order_column: OrderColumn = None,
    title_column: TitleColumn = None,
    format: Format = None,
    unknown_items: UnknownItems = None,
    keep_guests: KeepGuests = False,
    strict: Strict = False,
    visit: Visit = None,
    at: At = None,
    repeats: Repeats = None,
    show_real_shoppers: Annotated[
        bool, typer.Option("--show-real-shoppers", help="also print what three real shoppers would be shown; "
                           "this is printed only, and never written", rich_help_panel="Run")] = False,
    out: Annotated[Path | None, typer.Option(help="new folder; by default runs/<time>-<data>-try",
                                             rich_help_panel="Run", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="print only the path of the page",
                                        rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Answer for your own orders: can we protect privacy while we personalise?

    The command reads the orders, trains on what was bought before a date, and measures on the purchases after
    it how many of 100 shoppers find what they then buy among ten recommendations: with best sellers, with the
    best model without privacy, and with the smallest ε that keeps close to it. It ends with an answer and a
    page that can be printed.
    """
    given: dict[str, Any] = {
        name: value
        for name, value in locals().items()
        if name not in {"orders", "out", "quiet", "show_real_shoppers"}
        and value is not None
        and value is not False
    }
    if orders is not None:
        given |= {"path": orders, "data": data or "csv"}
    config = read_config(None, {**given, "split": "date"}, [])
    source = [
        word
        for name in DATA_SETTINGS
        if name in given
        for word in (FLAGS.get(name, "--" + name.replace("_", "-")), str(given[name]))
    ]

    from terrycloth.experiments.assessment.assess import assess
    from terrycloth.experiments.assessment.folder import write_assessment
    from terrycloth.experiments.assessment.terminal import print_assessment, print_real_shoppers
    from terrycloth.experiments.datasets import data_options, load
    from terrycloth.experiments.reports.terminal import TerminalReporter
    from terrycloth.experiments.runs.run_folder import choose_path, created
    from terrycloth.experiments.runs.simulation import Reporter

    path = choose_path(out, config.data, "try")
    with (
        when_stopped(lambda: "stopped; nothing is kept"),
        Reporter() if quiet else TerminalReporter() as reporter,
    ):
        reporter.doing("reading the data")
        dataset = load(config.data, data_options(config))
        with tempfile.TemporaryDirectory() as scratch:
            found = assess(config, dataset, Path(scratch) / "run", reporter)
        with created(path, needed_bytes=2**23):
            page = write_assessment(found, path, source)
    if quiet:
        print(page)
        return
    print_assessment(found, page)
    if show_real_shoppers:
        print_real_shoppers(found)
