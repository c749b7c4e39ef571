"""terry report and terry datasheet: a finished run in plain words, as a page and as Markdown."""

from pathlib import Path
from typing import Annotated

import typer

REPORT_EXAMPLE = "Example: terry report latest"
DATASHEET_EXAMPLE = "Example: terry datasheet latest"

Run = Annotated[Path, typer.Argument(help="folder of a finished run, or latest")]


def report(run: Run) -> None:
    """Write report.html into a run's folder: what it does for shoppers, and what was promised to them.

    The data are read again for it. The page needs no network.
    """
    from terrycloth.experiments.assessment.finished_run import FinishedRun
    from terrycloth.experiments.assessment.run_report import run_page
    from terrycloth.experiments.pages.page import write_page
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.experiments.runs.find_run import find_run

    folder = find_run(run)
    with phase("reading the data again and measuring by group"):
        page = run_page(FinishedRun(folder))
    path = folder / "report.html"
    write_page(page, path, remedy="make the folder writable")
    print(page.answer)
    print(path.resolve().as_uri())


def datasheet(run: Run) -> None:
    """Write datasheet.md and datasheet.html into a run's folder: a model card, and the data behind it."""
    from terrycloth.experiments.assessment.datasheet import datasheet as make_datasheet
    from terrycloth.experiments.assessment.finished_run import FinishedRun
    from terrycloth.experiments.pages.markdown import as_markdown
    from terrycloth.experiments.pages.page import write_page
    from terrycloth.experiments.reports.phases import phase
    from terrycloth.experiments.runs.files import write_whole
    from terrycloth.experiments.runs.find_run import find_run

    folder = find_run(run)
    with phase("reading the data again and measuring by group"):
        page = make_datasheet(FinishedRun(folder))
    write_whole(folder / "datasheet.md", as_markdown(page), remedy="make the folder writable")
    write_page(page, folder / "datasheet.html", remedy="make the folder writable")
    print(folder / "datasheet.md")
    print((folder / "datasheet.html").resolve().as_uri())
