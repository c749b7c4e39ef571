"""A cell of the page's tables."""

from dataclasses import dataclass

from experiments.frontier.points import Spread


@dataclass(frozen=True)
class Cell:
    """What one cell shows, and what it is sorted by."""

    text: str
    value: str | float
    number: bool = True


def measured(spread: Spread | None) -> Cell:
    """A mean, and how far the seeds are from each other."""
    if spread is None:
        return Cell("–", -1.0)
    apart = f" ({spread.low:.3f}–{spread.high:.3f})" if spread.low != spread.high else ""
    return Cell(f"{spread.mean:.3f}{apart}", spread.mean)
