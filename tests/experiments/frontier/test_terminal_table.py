"""The table that a frontier prints at its end: one row a setting, with means over its seeds."""

import math
from typing import Any

from terrycloth.experiments.frontier.terminal_table import SETTING, terminal_table


def row(epsilon: float, seed: int, hit_rate: float | None = None, **changes: Any) -> dict[str, Any]:
    """Return one cell of the towel shop."""
    done = {"status": "done", "hr@10": hit_rate, "ndcg@10": 0.1, "popularity_hr@10": 0.2}
    done |= {"best_floor": "popularity"}
    failed = {
        "status": "failed",
        "hr@10": None,
        "ndcg@10": None,
        "popularity_hr@10": None,
        "best_floor": None,
    }
    cell = dict.fromkeys(SETTING) | {"data": "towels", "devices": 2000, "epsilon": epsilon, "seed": seed}
    return cell | (failed if hit_rate is None else done) | changes


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    table = terminal_table(rows)
    columns = [list(column.cells) for column in table.columns]
    return [[str(column.header) for column in table.columns], *map(list, zip(*columns, strict=True))]  # type: ignore[list-item]


def test_seeds_make_one_row_and_constant_settings_are_left_out() -> None:
    """0.1 and 0.3 have the mean 0.2 and the standard deviation 0.1 √2."""
    header, one, none = cells([row(8.0, 0, 0.1), row(8.0, 1, 0.3), row(math.inf, 0, 0.4)])
    assert header == ["epsilon", "HR@10", "NDCG@10", "popularity:\nHR@10", "best floor:\nHR@10", "seeds"]
    assert one == ["8", "0.2000 ± 0.1414", "0.1000", "0.2000", "0.2000", "2"]
    assert none == ["∞", "0.4000", "0.1000", "0.2000", "0.2000", "1"]


def test_a_failed_cell_is_counted_but_not_averaged() -> None:
    _, some, all_failed = cells([row(8.0, 0, 0.1), row(8.0, 1), row(1.0, 0)])
    assert some[1:] == ["0.1000", "0.1000", "0.2000", "0.2000", "1, 1 failed"]
    assert all_failed[1:] == ["–", "–", "–", "–", "0, 1 failed"]


def test_every_setting_that_differs_is_a_column() -> None:
    header, *_ = cells([row(8.0, 0, 0.1, model="mf"), row(8.0, 0, 0.1, model="linear", devices=20_000)])
    assert header[:2] == ["devices", "model"]
