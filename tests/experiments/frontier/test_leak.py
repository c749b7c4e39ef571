"""The leaky protocol in a frontier: separate rows, labelled everywhere, and left out of all other figures."""

from pathlib import Path

import pytest

from terrycloth.experiments.frontier.cell import Job
from terrycloth.experiments.frontier.figure import Figure
from terrycloth.experiments.frontier.figures import draw_all
from terrycloth.experiments.frontier.findings import findings
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.grid import DEFAULT_GRID, Table, expand, read_grid
from terrycloth.experiments.frontier.leak_figure import leak_figure, pairs
from terrycloth.experiments.frontier.page import write_frontier_page
from terrycloth.experiments.frontier.points import make_federations, under
from terrycloth.experiments.frontier.run_jobs import do_job
from terrycloth.experiments.frontier.table import Row, make_rows, write_table

COMMON: Table = {
    "devices": 40, "seeds": 2, "rounds": 2, "split": "last-item", "central": False, "ceiling": False,
    "baselines": False,
}  # fmt: skip
TABLES: list[Table] = [
    COMMON | {"model": ["counter", "pfedrec"], "negative_sampling": ["clean", "leaky"]},
    COMMON | {"model": "mf", "negative_sampling": "leaky", "unit": "shopper", "trust": "central"},
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrontierFolder, list[Row], list[Figure]]:
    """Return a frontier with both protocols, and with cells that ask for a promise under the leaky one."""
    folder = FrontierFolder(tmp_path_factory.mktemp("frontier") / "out")
    cells = expand(TABLES)
    folder.open(TABLES)
    jobs: dict[str, Job] = {job.name: job for cell in cells for job in [*cell.references, cell]}
    reasons = {job.name: reason for job in jobs.values() if (reason := do_job(folder.path, job))}
    rows = make_rows(folder, cells, reasons)
    found = make_federations(rows)
    write_table(folder, rows)
    drawn = draw_all(folder, found)
    write_frontier_page(folder, rows, found, drawn)
    return folder, rows, drawn


@pytest.mark.slow
def test_a_promise_under_the_leaky_protocol_fails_with_its_reason(
    done: tuple[FrontierFolder, list[Row], list[Figure]],
) -> None:
    _, rows, _ = done
    assert [row["status"] for row in rows] == ["done"] * 8 + ["failed"] * 2
    assert all("no promise can be kept" in row["reason"] for row in rows[8:])


@pytest.mark.slow
def test_the_protocols_are_separate_points(done: tuple[FrontierFolder, list[Row], list[Figure]]) -> None:
    _, rows, _ = done
    (federation,) = make_federations(rows)
    listed = [
        (point.of("model"), point.of("negative_sampling"), len(point.rows)) for point in federation.points
    ]
    assert listed == [(model, name, 2) for model in ("counter", "pfedrec") for name in ("clean", "leaky")]
    for model, (clean, leaky) in pairs(federation).items():
        assert clean is not None
        assert (clean.of("model"), clean.of("negative_sampling")) == (model, "clean")
        assert (leaky.of("model"), leaky.of("negative_sampling")) == (model, "leaky")


def test_the_name_of_a_leaky_cell_says_so(done: tuple[FrontierFolder, list[Row], list[Figure]]) -> None:
    _, rows, _ = done
    assert all(("leaky" in row["run"]) == (row["negative_sampling"] == "leaky") for row in rows)
    assert all(
        ("--negative-sampling leaky" in row["command"]) == (row["negative_sampling"] == "leaky")
        for row in rows
    )


def test_other_figures_leave_out_leaky_points(
    done: tuple[FrontierFolder, list[Row], list[Figure]], tmp_path: Path
) -> None:
    """They are equal, to the byte, to the figures of the clean rows alone."""
    folder, rows, drawn = done
    assert [one.name for one in drawn] == [
        "leak-towels-40-last-item",
        "frontier-towels-40-last-item",
        "rounds-towels-last-item",
    ]
    other = FrontierFolder(tmp_path)
    other.runs.symlink_to(folder.runs)
    alone = draw_all(other, make_federations([row for row in rows if row["negative_sampling"] == "clean"]))
    assert alone == drawn[1:]
    for one in alone:
        for ending in ("svg", "png"):
            name = f"{one.name}.{ending}"
            assert (other.figures / name).read_bytes() == (folder.figures / name).read_bytes()


def test_the_figure_of_the_leak_shows_both_protocols(
    done: tuple[FrontierFolder, list[Row], list[Figure]],
) -> None:
    folder, rows, (leak, *_) = done
    svg = (folder.figures / f"{leak.name}.svg").read_text()
    assert "leaky negative sampling" in svg
    assert "not private" in svg
    mean = sum(row["sampled_hr@10"] for row in rows[2:4]) / 2
    assert f"leaky {mean:.3f}" in leak.page.alternative
    assert [line.label for line in leak.page.lines] == ["clean negative sampling", "leaky negative sampling"]
    assert "held-out items are never drawn as negatives" in leak.page.summary
    sentence = rows[0]["split_sentence"]
    assert sentence in leak.page.note
    assert sentence in leak.page.alternative
    assert "99 sampled negatives" in svg


def test_for_other_splits_only_the_whole_catalogue_is_drawn(
    done: tuple[FrontierFolder, list[Row], list[Figure]],
) -> None:
    _, rows, _ = done
    (federation,) = make_federations([row | {"split": "next-visit"} for row in rows])
    leak = leak_figure(federation)
    assert [[chart.y_label for chart in row] for row in leak.panels] == [
        ["HR@10, whole catalogue"], ["NDCG@10, whole catalogue"],
    ]  # fmt: skip
    mean = sum(row["hr@10"] for row in rows[2:4]) / 2
    assert f"HR@10 over the whole catalogue: counter: clean {rows[0]['hr@10']:.3f}, leaky {mean:.3f}" in (
        leak.page.alternative
    )


def test_the_page_names_the_protocol_in_its_table_and_text(
    done: tuple[FrontierFolder, list[Row], list[Figure]],
) -> None:
    folder, rows, _ = done
    text = folder.page.read_text(encoding="utf-8")
    assert (
        text.count(">counter, leaky negative sampling</td>")
        == text.count(">pfedrec, leaky negative sampling</td>")
        == 1
    )
    assert text.count(">counter</td>") == text.count(">pfedrec</td>") == 1
    listed = [sentence for answer in findings(rows, make_federations(rows)) for sentence in answer.sentences]
    assert any("repeat a fault of published code" in sentence for sentence in listed)
    clean = [row for row in rows if row["negative_sampling"] == "clean"]
    assert "eaky" not in str(findings(clean, make_federations(clean)))


def test_a_grid_of_leaky_rows_only_has_a_figure_and_a_page(
    done: tuple[FrontierFolder, list[Row], list[Figure]], tmp_path: Path
) -> None:
    _, rows, _ = done
    leaky = [row for row in rows if row["negative_sampling"] == "leaky"]
    found, other = make_federations(leaky), FrontierFolder(tmp_path)
    assert under("clean", found) == []
    drawn = draw_all(other, found)
    assert [one.name for one in drawn] == ["leak-towels-40-last-item"]
    write_frontier_page(other, leaky, found, drawn)
    assert "not measured" in drawn[0].page.alternative


def test_the_grid_of_the_project_has_both_protocols_of_every_model() -> None:
    cells = expand(read_grid(DEFAULT_GRID.with_name("leak.toml")))
    listed = {(cell.config.model, cell.config.negative_sampling) for cell in cells}
    models = ("counter", "pfedrec", "fedrap", "mf", "linear")
    assert listed == {(model, protocol) for model in models for protocol in ("clean", "leaky")}
    assert {cell.config.split for cell in cells} == {"last-item"}, "the published figures use this split"
