"""The cells that both tables of the page have."""

import math

from terrycloth.experiments.frontier.points import Spread
from terrycloth.experiments.pages.table import Cell

HITS = "hits of 100"


def measured(spread: Spread | None, scale: float = 1.0, form: str = "{:.3f}") -> Cell:
    """Return a cell with the mean over the seeds and, if they differ, their range; a dash if not measured."""
    if spread is None:
        return Cell("–", -1.0)
    mean, low, high = (form.format(scale * value) for value in (spread.mean, spread.low, spread.high))
    return Cell(mean if spread.low == spread.high else f"{mean} ({low} to {high})", spread.mean)


def epsilon_cell(epsilon: float) -> Cell:
    """Return a cell with an ε; no promise is sorted last."""
    return Cell("∞", 1e9) if math.isinf(epsilon) else Cell(f"{epsilon:g}", epsilon)
