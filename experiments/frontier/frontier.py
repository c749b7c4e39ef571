"""The whole of `terry frontier`: run a grid's cells, then write the table, the figures and the page."""

from terrycloth.experiments.frontier.cell import Job
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.grid import Table, expand
from terrycloth.experiments.frontier.progress import Silent
from terrycloth.experiments.frontier.run_jobs import Ended, run_jobs
from terrycloth.experiments.runs.files import RUN_AGAIN
from terrycloth.models.errors import UserError


def run_frontier(folder: FrontierFolder, tables: list[Table], workers: int, progress: Silent) -> list[str]:
    """Do what is not finished, and write everything anew. Returns why cells failed, or are not
    compared with what their grid wants, each reason once.

    Raises UserError, before anything is written where the grid or the folder is at fault, and after all is
    where every cell failed.
    """
    cells = expand(tables)
    folder.open(tables)
    references = {reference.name: reference for cell in cells for reference in cell.references}
    jobs: list[Job] = [*references.values(), *cells]
    left = [job for job in jobs if not folder.finished(job)]
    with progress:
        progress.started(len(cells), len(left), workers)
        reasons, bugs = run_jobs(folder, left, workers, progress.done) if left else Ended({}, [])

    from terrycloth.experiments.frontier.figures import draw_all
    from terrycloth.experiments.frontier.page import write_page
    from terrycloth.experiments.frontier.points import federations
    from terrycloth.experiments.frontier.table import make_rows, not_compared, write_table

    rows = make_rows(folder, cells, reasons)
    found = federations(rows)
    with folder.held():
        write_table(folder, rows)
        try:
            drawn = draw_all(folder, found)
        except OSError as error:
            raise UserError(f"{folder.figures} cannot be written ({error.strerror}): {RUN_AGAIN}") from None
        missing = not_compared(folder, cells, reasons)
        write_page(folder, rows, found, drawn, missing)
    if bugs:
        raise bugs[0]
    failed = sorted({row["reason"] for row in rows if row["status"] == "failed"})
    if not found:
        raise UserError(f"none of the {len(rows):,} cells could be run: {failed[0]}")
    return failed + missing
