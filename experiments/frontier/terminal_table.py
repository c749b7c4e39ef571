"""The table with which `terry frontier` ends: one row per setting, the means over its seeds."""

import math
import statistics
from typing import Any

from rich.table import Column, Table

from terrycloth.experiments.frontier.table import Row
from terrycloth.models.privacy.promise import rounded_up

SETTING = (
    "data",
    "split",
    "repeats",
    "devices",
    "model",
    "variant",
    "negative_sampling",
    "unit",
    "trust",
    "epsilon",
)
CAPTION = (
    "HR@10: the mean over the seeds of the share of a shopper's targets among the first ten of the whole "
    "catalogue; after ±, the standard deviation over the seeds. Measured by the simulator, not released."
)


def terminal_table(rows: list[Row]) -> Table:
    """Return the table of all cells; columns in which all rows agree are left out."""
    settings: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        settings.setdefault(tuple(row[name] for name in SETTING), []).append(row)
    values = [{setting[place] for setting in settings} - {None} for place in range(len(SETTING))]
    shown = [place for place in range(len(SETTING)) if len(values[place]) > 1]
    table = Table(
        *(Column(SETTING[place].replace("_", " ")) for place in shown),
        "HR@10", "NDCG@10", "popularity:\nHR@10", "best floor:\nHR@10", "seeds",
        caption=CAPTION,
    )  # fmt: skip
    for setting, cells in settings.items():
        done = [row for row in cells if row["status"] == "done"]
        failed = len(cells) - len(done)
        table.add_row(
            *(in_words(SETTING[place], setting[place]) for place in shown),
            spread([row["hr@10"] for row in done]), spread([row["ndcg@10"] for row in done]),
            spread([row["popularity_hr@10"] for row in done]), spread([floor_of(row) for row in done]),
            f"{len(done)}" + (f", {failed} failed" if failed else ""),
        )  # fmt: skip
    return table


def floor_of(row: Row) -> float | None:
    """Return HR@10 of a cell's best floor, if it has one."""
    return None if row["best_floor"] is None else row[f"{row['best_floor']}_hr@10"]


def in_words(name: str, value: Any) -> str:
    """Return the cell of a setting; ε is ∞ without a promise."""
    if value is None:
        return ""
    if name == "epsilon":
        return "∞" if math.isinf(value) else rounded_up(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def spread(values: list[float | None]) -> str:
    """Return the mean of some values, and their standard deviation if there are several different ones."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.mean(known):.4f}"
    deviation = statistics.stdev(known) if len(known) > 1 else 0.0
    return mean if deviation == 0.0 else f"{mean} ± {deviation:.4f}"
