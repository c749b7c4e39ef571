"""Compare the accuracy of a point with a baseline's: whether they differ clearly, by two standard errors."""

import math

from terrycloth.experiments.frontier.points import Floor, Point

HEADLINE = "hr@10"


def is_above(point: Point) -> bool:
    """Whether the mean over the seeds exceeds the best floor by two standard errors of their difference."""
    floor = point.floor()
    return floor is not None and clearly_above(point, floor)


def clearly_above(point: Point, floor: Floor, errors: float = 2.0) -> bool:
    """Whether the mean over the seeds exceeds a baseline by so many standard errors of their difference."""
    own, error = point.mean(HEADLINE), error_between(point, "", f"{floor.name}_")
    return own is not None and error is not None and own - floor.level > errors * error


def error_between(point: Point, one: str, other: str) -> float | None:
    """Return the standard error of the difference of two HR@10, over shoppers and over seeds.

    one, other: the prefixes of their columns. The shoppers of the two are treated as independent. The error
    over seeds is that of the mean. None if the error of either is unknown.
    """
    errors = [point.mean(f"{prefix}hr@10_error") for prefix in (one, other)]
    known = [error for error in errors if error is not None]
    seeds = [point.seed_error(f"{prefix}hr@10") for prefix in (one, other)]
    return math.hypot(*known, *seeds) if len(known) == 2 else None


def of_100(rate: float) -> str:
    """Return an HR@10 as people say it: of 100 next purchases, the mean over shoppers of those among ten."""
    return f"{100 * rate:.1f}"
