"""The charts of a frontier: the lines, levels and floors of each, and which marks are hollow."""

import math

import pytest

from terrycloth.experiments.frontier.bytes_figure import bytes_figure
from terrycloth.experiments.frontier.figure import PEOPLE, best_central, short_labels
from terrycloth.experiments.frontier.frontier_figure import cost_chart, frontier_figure, places
from terrycloth.experiments.frontier.points import make_federations
from terrycloth.experiments.frontier.sizes_figure import sizes_figures
from terrycloth.experiments.frontier.table import Row
from terrycloth.experiments.pages.chart import Chart, Step
from tests.experiments.frontier.made_rows import made


def costs(*rows: Row) -> Chart:
    (federation,) = make_federations(list(rows))
    return cost_chart(federation, PEOPLE)


def marks(chart: Chart, label: str) -> list[tuple[float, float]]:
    """Return the marks of the only line with this label."""
    (line,) = [line for line in chart.lines if line.label == label]
    return [(mark.x, round(mark.y, 6)) for mark in line.marks]


def test_a_series_is_a_line_in_hits_of_100_with_no_promise_apart_at_the_right() -> None:
    chart = costs(made(0.12), made(0.15, 4.0), made(0.2, math.inf))
    assert marks(chart, "linear with privacy") == [(0.0, 12.0), (2.0, 15.0), (5.0, 20.0)]
    assert [mark.apart for mark in chart.lines[0].marks] == [False, False, True]
    assert chart.ticks == {0.0: "1", 2.0: "4", 5.0: "no\npromise"}
    assert chart.at(2.0) == "ε = 4"
    assert chart.title == "What does each ε cost with 30 shoppers?"
    assert costs(made(0.2, math.inf)).title == "How much does each model find with 30 shoppers?"


def test_the_band_is_the_range_of_the_seeds() -> None:
    chart = costs(made(0.12), made(0.16) | {"seed": 1})
    (mark,) = chart.lines[0].marks
    assert (round(mark.y, 6), mark.low, mark.high) == (14.0, 12.0, 16.0)


@pytest.mark.parametrize(("own", "below"), [(0.09, True), (0.11, False)])
def test_points_below_their_floor_are_hollow_in_every_chart(own: float, below: bool) -> None:
    grid = [made(own), made(0.12, 8.0) | {"bytes_up_per_device": 2000}]
    sizes = make_federations([*grid, *(row | {"devices": 60} for row in grid)])
    (by_size,), by_bytes = sizes_figures(sizes), bytes_figure(sizes)
    assert by_bytes is not None
    for chart in (cost_chart(sizes[0], PEOPLE), by_size.page, by_bytes.page):
        hollow = {mark.y for line in chart.lines for mark in line.marks if mark.hollow}
        assert hollow == ({100 * own} if below else set())


def test_the_shaded_floor_is_what_each_device_reaches_alone() -> None:
    chart = costs(made(0.12), made(0.15, 4.0))
    assert chart.floor == [Step(-0.5, 2.5, 10.0)]
    assert chart.floor_label == "no shopper's data needed up to here"


def test_private_best_sellers_are_a_grey_line_if_they_are_the_best_floor() -> None:
    """At ε = 1 the floor is nothing released, at ε = 8 private popularity; the best of two is drawn."""
    eight = made(0.2, 8.0, private_popularity=0.14)
    other = eight | {"trust": "distributed", "private_popularity_hr@10": 0.15}
    chart = costs(made(0.2), eight, other)
    assert marks(chart, "best sellers under the same promise") == [(3.0, 15.0)]
    assert [line.private for line in chart.lines] == [True, True, False]
    assert len(costs(made(0.2)).lines) == 1


def test_the_levels_are_the_best_baselines_of_each_kind() -> None:
    chart = costs(made(0.12, central=0.19))
    assert {level.label: round(level.y, 6) for level in chart.levels} == {
        "recent best sellers": 6.0, "EASE, pooled data": 16.0, "linear, pooled data": 19.0,
    }  # fmt: skip


def test_labels_name_only_the_settings_that_differ() -> None:
    (both,) = make_federations([made(0.2), made(0.2) | {"trust": "distributed"}])
    assert list(short_labels(both.all_series).values()) == ["central trust", "distributed trust"]
    (one,) = make_federations([made(0.2)])
    assert list(short_labels(one.all_series).values()) == ["linear with privacy"]
    (tuned,) = make_federations([made(0.2), made(0.2) | {"variant": "dim = 4"}])
    assert list(short_labels(tuned.all_series).values()) == [
        "linear, shopper level, central trust",
        "dim = 4",
    ]


def test_sizes_are_one_chart_per_promise_with_a_line_per_epsilon() -> None:
    """δ differs by size, but it is one promise."""
    small = [made(0.12), made(0.2, math.inf)]
    large = [row | {"devices": 60, "hr@10": 0.18, "delta": row["delta"] and 1e-6} for row in small]
    (figure,) = sizes_figures(make_federations([*small, *large]))
    assert marks(figure.page, "ε = 1") == [(30.0, 12.0), (60.0, 18.0)]
    assert [line.label for line in figure.page.lines if line.private] == ["ε = 1"]
    assert {line.label for line in figure.page.lines if not line.private} == {
        "no promise", "each device alone", "recent best sellers, no promise",
    }  # fmt: skip
    several = [*small, *large, *(row | {"trust": "distributed"} for row in (small[0], large[0]))]
    assert [one.name for one in sizes_figures(make_federations(several))] == [
        "devices-towels-next-visit-central-trust", "devices-towels-next-visit-distributed-trust",
    ]  # fmt: skip


def test_bytes_are_drawn_only_if_they_differ() -> None:
    same = make_federations([made(0.12), made(0.2, 8.0)])
    assert bytes_figure(same) is None
    figure = bytes_figure(make_federations([made(0.12), made(0.2, 8.0) | {"bytes_up_per_device": 2000}]))
    assert figure is not None
    assert marks(figure.page, "linear with privacy") == [(1000.0, 12.0), (2000.0, 20.0)]
    assert figure.page.values(2000.0)[0] == ("linear with privacy, ε = 8", "20.0")


def test_sampled_negatives_are_drawn_only_for_the_split_of_published_tables() -> None:
    for split, columns in (("last-item", 2), ("next-visit", 1)):
        (federation,) = make_federations([made(0.12) | {"split": split}])
        panels = frontier_figure(federation).panels
        assert [len(row) for row in panels] == [columns] * 2
        labels = " ".join(chart.y_label for row in panels for chart in row)
        assert ("99 sampled negatives" in labels) is (columns == 2)


def test_the_place_of_no_promise_is_at_the_right_end() -> None:
    assert places([1.0, 4.0, math.inf, 2.0]) == {1.0: 0.0, 2.0: 1.0, 4.0: 2.0, math.inf: 3.5}
    assert places([math.inf]) == {math.inf: 1.5}
    assert places([2.0]) == {2.0: 1.0}


def test_of_several_central_models_the_best_is_shown() -> None:
    rows = [
        made(0.2, math.inf, central=level) | {"variant": f"dim = {dim}"}
        for dim, level in ((2, 0.1), (4, 0.3), (8, 0.2))
    ]
    (federation,) = make_federations(rows)
    best = best_central(federation, "hr@10")
    assert best is not None
    assert (best.label, best.level) == ("linear", 0.3)
