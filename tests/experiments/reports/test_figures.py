"""The figure of a run: its reference lines with their labels, none of which is covered."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import terrycloth.experiments.reports.figures
from terrycloth.experiments.reports.figures import draw_accuracy, draw_run, levels_beside
from terrycloth.experiments.runs.run_folder import RunFolder
from tests.experiments.reports.test_terminal import result, with_baselines
from tests.experiments.runs.test_result import DESIGN, NO_PROMISE

ROWS: list[dict[str, Any]] = [
    {"round": 1, "hr@10": "0.1", "epsilon": 2.0},
    {"round": 2, "hr@10": "", "epsilon": 4.0},
    {"round": 3, "hr@10": "0.12", "epsilon": 5.0},
]


def test_a_figure_has_the_best_floor_and_the_best_baseline_of_each_kind() -> None:
    """Under a promise its own floors are drawn; popularity without one is in the table only."""
    floors = with_baselines(
        with_baselines(result(0.12, 0.2), nothing_released=0.05), private=True, private_popularity=0.1
    )
    found = levels_beside(with_baselines(floors, ease=0.16, item_knn=0.14, central=0.18))
    assert {name: level for name, (level, _, _) in found.items()} == {
        "private popularity": 0.1, "nothing released": 0.05, "EASE, no promise": 0.16,
        "central attributes, no promise": 0.18,
    }  # fmt: skip
    assert len({(colour, str(style)) for _, colour, style in found.values()}) == len(found)
    free = levels_beside(with_baselines(result(0.12, 0.2, **NO_PROMISE), nothing_released=0.05))
    assert {name: level for name, (level, _, _) in free.items()} == {
        "popularity": 0.2,
        "nothing released": 0.05,
    }
    alone = levels_beside(with_baselines(result(0.12, 0.01, **NO_PROMISE), nothing_released=0.05))
    assert list(alone) == ["nothing released"], "one line, not two at the same place"


@pytest.mark.parametrize(("own", "below"), [(0.15, True), (0.25, False)])
def test_a_run_below_its_floor_is_hollow_and_labelled_so(own: float, below: bool) -> None:
    axes = pyplot.figure().subplots()
    draw_accuracy(axes, ROWS, result(own, 0.2, **NO_PROMISE))
    line = axes.lines[0]
    assert list(line.get_xdata()) == [1, 3]
    assert (line.get_markerfacecolor() == "#ffffff") is below
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    addition = ", which ends below its floor" if below else ""
    assert labels == [f"federated attributes{addition}", "below popularity"]
    pyplot.close()


def test_the_figure_states_the_split_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(
        terrycloth.experiments.reports.figures, "save", lambda figure, folder, name: drawn.append(figure)
    )
    draw_run(RunFolder(tmp_path), ROWS, result(0.12, 0.1))
    (figure,) = drawn
    assert figure.axes[0].get_title().startswith("towels by date: 2,000 devices, 300 items\n")
    addition = figure.axes[-1].get_xlabel().replace("\n", " ")
    assert addition == f"round {DESIGN['data']['split_sentence']}"
    pyplot.close(figure)
