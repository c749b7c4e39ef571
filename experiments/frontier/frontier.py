"""What `terry frontier` does: run the cells of a grid, then write the table, the figures and the page."""

from typing import Any, NamedTuple

from terrycloth.experiments.frontier.cell import Cell, Job
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.grid import Table, expand
from terrycloth.experiments.frontier.progress import SilentProgress
from terrycloth.experiments.frontier.run_jobs import Failures, Reasons, run_jobs
from terrycloth.experiments.runs.files import RUN_AGAIN
from terrycloth.experiments.runs.own_tables import add_own
from terrycloth.models.errors import UserError


class Finished(NamedTuple):
    """A frontier that is done.

    rows: one per cell, as in `table.COLUMNS`. failed: why cells failed. missing: why some comparisons that
    the grid requests are missing. Each reason is there once.
    """

    rows: list[dict[str, Any]]
    failed: list[str]
    missing: list[str]

    @property
    def reasons(self) -> list[str]:
        """Why anything is missing."""
        return self.failed + self.missing


def run_frontier(
    folder: FrontierFolder, tables: list[Table], workers: int, progress: SilentProgress
) -> Finished:
    """Run the unfinished jobs of a grid, and write all results again.

    Raises UserError before anything is written if the grid or the folder is wrong, and after everything is
    written if every cell failed.
    """
    cells = expand(tables)
    folder.open(tables)
    for cell in cells:
        add_own(cell.config)
    references = {reference.name: reference for cell in cells for reference in cell.references}
    jobs: list[Job] = [*references.values(), *cells]
    unfinished = [job for job in jobs if not folder.finished(job)]
    with progress:
        progress.started(len(cells), len(unfinished), workers)
        reasons, bugs = (
            run_jobs(folder, unfinished, workers, progress.done) if unfinished else Failures({}, [])
        )
        progress.doing("writing the table, the figures and the page")
        rows, missing, any_done = write_results(folder, cells, reasons)
    if bugs:
        raise bugs[0]
    failed = sorted({row["reason"] for row in rows if row["status"] == "failed"})
    if not any_done:
        raise UserError(f"none of the {len(rows):,} cells could be run: {failed[0]}")
    return Finished(rows, failed, missing)


def write_results(
    folder: FrontierFolder, cells: list[Cell], reasons: Reasons
) -> tuple[list[dict[str, Any]], list[str], bool]:
    """Write the table, the figures and the page.

    Returns the rows, why comparisons are missing, and whether any cell is done. Raises UserError if a file
    cannot be written.
    """
    from terrycloth.experiments.frontier.figures import draw_all
    from terrycloth.experiments.frontier.page import write_frontier_page
    from terrycloth.experiments.frontier.points import make_federations
    from terrycloth.experiments.frontier.table import make_rows, not_compared, write_table

    rows = make_rows(folder, cells, reasons)
    federations = make_federations(rows)
    with folder.locked():
        write_table(folder, rows)
        try:
            figures = draw_all(folder, federations)
        except OSError as error:
            raise UserError(f"{folder.figures} cannot be written ({error.strerror}): {RUN_AGAIN}") from None
        missing = not_compared(folder, cells, reasons)
        write_frontier_page(folder, rows, federations, figures, missing)
    return rows, missing, bool(federations)
