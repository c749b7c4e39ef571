"""The accuracy of a point after each round."""

import math
from dataclasses import dataclass
from pathlib import Path

from terrycloth.experiments.frontier.points import Point, Series
from terrycloth.experiments.runs.run_folder import RunFolder


@dataclass(frozen=True)
class TrainingCurve:
    """The accuracy of a point after each measured round, averaged over its seeds."""

    point: Point
    rounds: tuple[int, ...]
    means: dict[str, tuple[float, ...]]  # by metric


def training_curve(runs: Path, point: Point) -> TrainingCurve:
    """Read the curve of a point from the rounds.csv of its runs; it is empty if no round was measured.

    Only rounds that every seed measured count.
    """
    rows = [RunFolder(runs / row["run"]).read_rounds() for row in point.rows]
    measured = [{int(row["round"]): row for row in run if row.get("hr@10")} for run in rows]
    rounds = tuple(sorted(set.intersection(*map(set, measured)))) if measured else ()
    return TrainingCurve(
        point,
        rounds,
        {
            metric: tuple(
                math.fsum(float(run[round][metric]) for run in measured) / len(measured) for round in rounds
            )
            for metric in ("hr@10", "ndcg@10")
        },
    )


def curves_by_round(runs: Path, series: Series) -> list[TrainingCurve]:
    """Return the curves of a series at its largest ε and without a promise, if measured more than once."""
    ends = [*series.private[-1:], *([series.free] if series.free else [])]
    return [curve for point in ends if len((curve := training_curve(runs, point)).rounds) > 1]
