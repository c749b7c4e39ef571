"""A chart as data, and how it is drawn: its colours, its hollow marks, and its labels."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.text import Text

from terrycloth.experiments.pages.chart import Chart, Level, Line, Mark, Step
from terrycloth.experiments.pages.colours import AREAS, BLUE, COLOURS, GREY, ORANGE, PAPER, SERIES, variable
from terrycloth.experiments.pages.drawing import NARROW, WIDE, draw, looks_of, panel, picture, save_for_paper
from terrycloth.experiments.pages.end_labels import TOP, EndLabel, apart, name_ends, wrapped

PRIVATE = Line(
    "central trust", [Mark(0.0, 9.0, 8.5, 9.5, hollow=True), Mark(1.0, 16.0), Mark(2.0, 18.0, apart=True)]
)
GREYS = Line("Flower's strategy", [Mark(0.0, 3.0)], private=False)
CHART = Chart(
    "costs", "What does each ε cost?", "A summary.", "ε", "shoppers of 100", [PRIVATE, GREYS],
    levels=[Level("best sellers", 11.9)], floor=[Step(-0.5, 2.5, 10.0)], floor_label="no data needed",
    ticks={0.0: "1", 1.0: "4", 2.0: "no\npromise"}, names={0.0: "ε = 1"},
)  # fmt: skip


def drawn(chart: Chart) -> Axes:
    figure = pyplot.figure(figsize=(WIDE.width / 72, WIDE.height / 72))
    axes = panel(figure, chart, WIDE)
    draw(axes, chart, WIDE)
    pyplot.close(figure)
    return axes


def test_the_values_at_an_x_are_listed_from_the_largest_with_their_range() -> None:
    assert CHART.xs == [0.0, 1.0, 2.0]
    assert [CHART.at(x) for x in (0.0, 1.0, 12345.0)] == ["ε = 1", "4", "12,345"]
    assert CHART.values(0.0) == [
        ("best sellers", "11.9"), ("no data needed", "10.0"), ("central trust", "9.0 (8.5 to 9.5)"),
        ("Flower's strategy", "3.0"),
    ]  # fmt: skip
    named = Line("a", [Mark(1.0, 2.0, name="ε = 1"), Mark(1.0, 3.0, name="ε = 2")])
    assert Chart("n", "t", "s", "x", "y", [named], form="{:.0f}").values(1.0) == [
        ("a, ε = 2", "3"),
        ("a, ε = 1", "2"),
    ]


def test_lines_with_a_promise_are_coloured_and_all_others_grey() -> None:
    other = Line("local trust", [Mark(0.0, 1.0)])
    looks = looks_of(Chart("n", "t", "s", "x", "y", [GREYS, PRIVATE, other]))
    assert {label: colour for label, (colour, _) in looks.items()} == {
        "Flower's strategy": GREY, "central trust": BLUE, "local trust": ORANGE,
    }  # fmt: skip


def test_grey_marks_without_lines_differ_in_shape() -> None:
    lines = [Line(name, [Mark(0.0, 1.0)], private=False, joined=False) for name in ("clean", "leaky")]
    looks = looks_of(Chart("n", "t", "s", "x", "y", [*lines, GREYS]))
    assert looks["clean"][1] != looks["leaky"][1]
    assert {colour for colour, _ in looks.values()} == {GREY}


def test_a_mark_below_its_floor_is_hollow_and_a_separate_one_has_a_dotted_line() -> None:
    lines = [line for line in drawn(CHART).lines if line.get_color() == BLUE]
    marks = {
        float(line.get_ydata()[0]): line.get_markerfacecolor() for line in lines if len(line.get_ydata()) == 1
    }
    assert marks == {9.0: PAPER, 16.0: BLUE, 18.0: BLUE}
    ends = {str(line.get_linestyle()): list(line.get_ydata()) for line in lines if len(line.get_ydata()) == 2}
    assert ends["-"] != ends[":"] == [16.0, 18.0]


def test_the_floor_is_shaded_up_to_its_level_and_labelled() -> None:
    axes = drawn(CHART)
    assert axes.collections[0].get_paths()[0].get_extents().y1 == 10.0
    assert "No data needed" in [text.get_text() for text in axes.texts]
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_no_text_is_outside_the_figure(size: Any) -> None:
    made = picture(CHART, size, "x")
    assert len(made.xs) == 3
    assert 0 < made.xs[0] < made.xs[1] < made.xs[2] < 1
    assert 0 < made.top < made.bottom < 1
    figure = pyplot.figure(figsize=(size.width / 72, size.height / 72))
    long = Chart(
        "n", "t", "s", "an axis " * 8, "a label of an axis that is long " * 3, CHART.lines, CHART.levels
    )
    axes = panel(figure, long, size)
    draw(axes, long, size)
    figure.draw_without_rendering()
    ticks = {*axes.get_xticklabels(), *axes.get_yticklabels()}  # some are outside the axes
    for text in set(figure.findobj(Text)) - ticks:
        box = text.get_window_extent()
        assert not text.get_text() or (box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1), text.get_text()
        assert not text.get_text() or (box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1), text.get_text()
    pyplot.close(figure)


@pytest.mark.slow
def test_a_figure_uses_the_stylesheets_colours_and_unique_ids() -> None:
    svg = picture(CHART, WIDE, "wide").svg
    assert svg.startswith("<svg ")
    assert "var(--blue)" in svg
    assert BLUE not in svg.lower()
    assert 'id="costs-wide-' in svg
    assert "<metadata" not in svg


def test_equal_charts_make_equal_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_for_paper([[CHART], [CHART]], "A title", "A note.", tmp_path / folder, "costs")
    for ending in ("png", "svg"):
        assert (tmp_path / f"a/costs.{ending}").read_bytes() == (tmp_path / f"b/costs.{ending}").read_bytes()
    assert "best sellers" in (tmp_path / "a/costs.svg").read_text(encoding="utf-8")


def test_labels_do_not_overlap() -> None:
    """Labels have half heights of .05: three at one place are spread; distant or touching ones stay."""
    assert apart([0.5, 0.5, 0.5, 0.9], [0.05] * 4) == pytest.approx([0.4, 0.5, 0.6, 0.9])
    assert apart([0.2, 0.3], [0.05, 0.05]) == pytest.approx([0.2, 0.3])
    assert apart([], []) == []
    wanted, halves = [0.1, 0.12, 0.3, 0.31, 0.33], [0.05, 0.1, 0.05, 0.05, 0.05]
    found = apart(wanted, halves)
    for one, other, low, high in zip(found, found[1:], halves, halves[1:], strict=False):
        assert other - one >= low + high - 1e-12


def test_labels_stay_beside_their_panel() -> None:
    assert apart([0.0, 1.2], [0.05, 0.05]) == pytest.approx([0.05, TOP - 0.05])
    assert apart([1.0, 1.0], [0.1, 0.1]) == pytest.approx([TOP - 0.3, TOP - 0.1])


def test_labels_are_outside_the_panel_and_do_not_overlap() -> None:
    figure = pyplot.figure(figsize=(7.0, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(0, 1)
    labels = [EndLabel(f"level {number}", 0.5 + number / 1000, "#000000") for number in range(5)]
    name_ends(axes, [*labels, EndLabel("a baseline with a long name, no promise", 0.9, "#000000")])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    for number, box in enumerate(boxes):
        assert box.x1 < figure.bbox.x1
        assert box.x0 > axes.get_window_extent().x1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    pyplot.close(figure)


def test_labels_of_lines_with_equal_ends_follow_their_earlier_order() -> None:
    lines = [Line("high", [Mark(0, 9), Mark(1, 5)]), Line("low", [Mark(0, 1), Mark(1, 5)])]
    for order in (lines, lines[::-1]):
        texts = drawn(Chart("n", "t", "s", "x", "y", order)).texts
        height = {text.get_text(): text.get_position()[1] for text in texts}
        assert height["high"] > height["low"]


def test_a_long_label_is_wrapped_after_its_commas() -> None:
    assert wrapped("central linear, no promise", 18) == ["central linear,", "no promise"]
    assert wrapped("no promise", 18) == ["no promise"]


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_in_every_colour_is_legible_on_paper_and_on_the_floor(dark: bool) -> None:
    """The contrast is at least 4.5 in light and dark mode."""
    of = {name: pair[dark] for name, pair in COLOURS.items()}
    for name in set(of) - AREAS:
        for ground in ("paper", "shade"):
            high, low = sorted((luminance(of[name]), luminance(of[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground, dark)
    assert [variable(colour) for colour in SERIES][:2] == ["blue", "orange"]
