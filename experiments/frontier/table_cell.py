"""A cell of the page's tables."""

from dataclasses import dataclass

from terrycloth.experiments.frontier.points import Spread


@dataclass(frozen=True)
class Cell:
    """What one cell shows, and what it is sorted by."""

    text: str
    value: str | float
    number: bool = True


def measured(spread: Spread | None, form: str = "{:.3f}") -> Cell:
    """A mean, and how far the seeds are from each other."""
    if spread is None:
        return Cell("–", -1.0)
    apart = f" ({form.format(spread.low)} to {form.format(spread.high)})" if spread.low != spread.high else ""
    return Cell(f"{form.format(spread.mean)}{apart}", spread.mean)
