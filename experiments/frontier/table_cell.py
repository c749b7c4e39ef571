"""The cells of the tables on the page."""

from dataclasses import dataclass

from terrycloth.experiments.frontier.points import Spread


@dataclass(frozen=True)
class TableCell:
    """The text of one table cell, and the value that the column is sorted by."""

    text: str
    value: str | float
    number: bool = True


def measured(spread: Spread | None, form: str = "{:.3f}") -> TableCell:
    """Return a cell with the mean over the seeds and, if they differ, their range; a dash if not measured."""
    if spread is None:
        return TableCell("–", -1.0)
    apart = f" ({form.format(spread.low)} to {form.format(spread.high)})" if spread.low != spread.high else ""
    return TableCell(f"{form.format(spread.mean)}{apart}", spread.mean)
