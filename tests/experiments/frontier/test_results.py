"""From cells to the table, the points, the figures and the page, with thirty devices in this process."""

import csv
import math
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import terrycloth.experiments.reports.figures
import terrycloth.experiments.runs.simulation
from terrycloth.experiments.baselines import BASELINES
from terrycloth.experiments.baselines.tuning import Tuned
from terrycloth.experiments.datasets.towel_ceiling import ceilings
from terrycloth.experiments.evaluation.evaluate import rank_targets
from terrycloth.experiments.evaluation.split import Split
from terrycloth.experiments.frontier.baseline_table import baselines_of
from terrycloth.experiments.frontier.cell import Cell, Job
from terrycloth.experiments.frontier.comparing import is_above
from terrycloth.experiments.frontier.figures import draw_all
from terrycloth.experiments.frontier.findings import findings, opening_sentences
from terrycloth.experiments.frontier.folder import FrontierFolder
from terrycloth.experiments.frontier.frontier_figure import frontier_figure
from terrycloth.experiments.frontier.grid import Table, expand
from terrycloth.experiments.frontier.page import write_frontier_page
from terrycloth.experiments.frontier.points import Point, families, make_federations
from terrycloth.experiments.frontier.run_jobs import Reasons, do_job
from terrycloth.experiments.frontier.table import COLUMNS, Row, make_rows, not_compared, write_table
from terrycloth.experiments.frontier.training_curves import training_curve
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.models.catalogue import Catalogue
from tests.experiments.frontier.made_rows import made

pytestmark = pytest.mark.slow  # the frontier below is run

COMMON: Table = {
    "devices": [30, 60], "unit": "shopper", "trust": "central", "seeds": 2, "split": "next-visit",
}  # fmt: skip
TABLES: list[Table] = [
    COMMON | {"model": "linear", "epsilon": [1, 8, math.inf]},
    COMMON
    | {"model": "attributes", "epsilon": 4.0, "delta": [1e-5, 0.5], "rounds": 2, "central": False}
    | {"flower": True},
]
PRIVATE, FLOWER = "private_popularity_hr@10", "flower_hr@10"
IMPOSSIBLE = "would allow one shopper's data to be published whole"


LEFT_OUT = "ials is left out here"


def replaced_baselines(
    split: Split,
    validation: Split,
    catalogue: Catalogue,
    names: list[str],
    *,
    sample: int = 0,
    step: Any = None,
) -> tuple[dict[str, tuple[Any, dict[str, float]]], list[str]]:
    """Replace the baselines: each orders the catalogue differently, except for one that is left out."""
    found = {}
    for name in names:
        if name not in ("ials", "own_frequency"):
            scores = torch.rand(len(catalogue), generator=torch.Generator().manual_seed(sum(map(ord, name))))
            ranks = rank_targets(
                lambda rows, scores=scores: scores.expand(len(rows), -1), split, len(catalogue)
            )
            found[name] = Tuned(ranks, {"half_life": 30.0} if name == "ease" else {})
    return found, [LEFT_OUT] if "ials" in names else []


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrontierFolder, list[Row], Reasons]:
    """Return a frontier with cells that failed, which no test may write to."""
    folder = FrontierFolder(tmp_path_factory.mktemp("frontier") / "<b>out")
    cells = expand(TABLES)
    folder.open(TABLES)
    jobs: dict[str, Job] = {job.name: job for cell in cells for job in [*cell.references, cell]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ceilings, "__defaults__", (200,))
        patched.setattr(terrycloth.experiments.runs.simulation, "tuned_baselines", replaced_baselines)
        reasons = {job.name: reason for job in jobs.values() if (reason := do_job(folder.path, job))}
    rows = make_rows(folder, cells, reasons)
    found = make_federations(rows)
    write_table(folder, rows)
    write_frontier_page(folder, rows, found, draw_all(folder, found), not_compared(folder, cells, reasons))
    return folder, rows, reasons


@pytest.fixture
def rows(done: tuple[FrontierFolder, list[Row], Reasons]) -> list[Row]:
    return done[1]


@pytest.fixture
def folder(done: tuple[FrontierFolder, list[Row], Reasons]) -> FrontierFolder:
    return done[0]


def test_every_cell_has_a_row_with_every_column(rows: list[Row]) -> None:
    assert len(rows) == len(expand(TABLES)) == 20
    assert all(list(row) == list(COLUMNS) for row in rows)


def test_an_impossible_promise_fails_with_its_reason_and_the_rest_continues(rows: list[Row]) -> None:
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 4
    assert all(IMPOSSIBLE in row["reason"] and row["hr@10"] is None for row in failed)
    assert all(row["hr@10"] is not None for row in rows if row["status"] == "done")


def test_cells_of_one_size_share_their_comparisons(rows: list[Row]) -> None:
    for devices in (30, 60):
        mine = [row for row in rows if row["devices"] == devices and row["status"] == "done"]
        assert len({row["popularity_hr@10"] for row in mine}) == 1
        assert len({row["ceiling_hr@10"] for row in mine}) == 1
        assert {row["central_hr@10"] is None for row in mine if row["model"] == "attributes"} == {True}
        assert {row["central_hr@10"] is None for row in mine if row["model"] == "linear"} == {False}


def test_private_baselines_keep_the_promise_of_their_row(rows: list[Row]) -> None:
    done = [row for row in rows if row["status"] == "done"]
    for row in done:
        private = row["unit"] == "shopper"
        assert (row[PRIVATE] is not None) is private
        assert (row[FLOWER] is not None) is (row["model"] == "attributes")
        for name in ("private_popularity", "flower") if private else ():
            if (promise := row[f"{name}_promise"]) is not None:
                assert "in any one" not in promise
                assert "everything one shopper did" in promise
                stated = re.search(r"\(ε = ([\d.e+]+), δ", promise)
                assert stated is not None
                assert float(stated[1]) <= row["epsilon"] * 1.01
                assert ("all 2 rounds" in promise) is (name == "flower")
    noisy = {row["private_popularity_sampled_ndcg@10"] for row in done if row["epsilon"] == 1.0}
    assert len(noisy) > 2  # one release for each seed


def test_baselines_are_computed_once_for_each_size(rows: list[Row]) -> None:
    for devices in (30, 60):
        mine = [row for row in rows if row["devices"] == devices and row["status"] == "done"]
        for name in set(BASELINES) - {"own_frequency"}:
            assert len({row[f"{name}_hr@10"] for row in mine}) == 1
            assert (mine[0][f"{name}_hr@10"] is None) is (name == "ials")
        assert {row["ease_settings"] for row in mine} == {"half_life = 30"}
        assert {row["popularity_settings"] for row in mine} == {None}


def test_a_row_states_its_split_and_its_best_floor(rows: list[Row]) -> None:
    for row in rows:
        if row["status"] != "done":
            continue
        assert (row["split"], row["at"], row["repeats"]) == ("next-visit", None, "exclude")
        assert row["split_sentence"].startswith("By next visit: ")
        assert row["targets"] >= row["tested"] > 0
        assert row["above_nothing_released"] == row["hr@10"] - row["nothing_released_hr@10"]
        private = row["unit"] == "shopper"
        floors = (
            ("nothing_released", "private_popularity", "private_recent_popularity")
            if private
            else ("popularity", "recent_popularity", "nothing_released")
        )
        levels = {name: row[f"{name}_hr@10"] for name in floors}
        assert levels[row["best_floor"]] == max(levels.values())
        assert row["below_floor"] is (row["hr@10"] < max(levels.values()))
        assert (row["private_recent_popularity_hr@10"] is not None) is private


def test_the_curves_of_private_baselines(rows: list[Row]) -> None:
    small, _ = make_federations(rows)
    (popular,), (flower,) = small.curves("private_popularity"), small.curves("flower")
    assert popular.label == "private popularity, shopper level, central trust"
    assert [point.epsilon for point in popular.points] == [1.0, 4.0, 8.0]
    assert flower.label == "Flower's DP strategy, attributes, rounds = 2, shopper level, central trust"
    assert [point.epsilon for point in flower.points] == [4.0]


def sentence_of(rows: list[Row]) -> str:
    """Return the sentence of the only line."""
    return findings(rows, make_federations(rows))[2].sentences[1]


def test_points_below_the_floor_are_stated_first_everywhere(rows: list[Row], tmp_path: Path) -> None:
    """It is stated before the page's first question, in the line's sentence, captions and alternatives."""
    grid = [made(0.09), made(0.12, 8.0)]
    found = make_federations(grid)
    (first,) = opening_sentences(found)
    assert first == (
        "Below its floor: linear, shopper level, central trust on towels (split by next-visit, 30 devices) "
        "hits 9.0 of 100 at ε = 1, while its floor “nothing released” reaches 10.0."
    )
    assert sentence_of(grid).startswith(
        "Below its floor at ε = 1: linear, shopper level, central trust on towels"
    )
    folder = FrontierFolder(tmp_path)
    folder.runs.mkdir()
    drawn = draw_all(folder, found)
    assert [one.page.alternative.startswith(first) for one in drawn] == [True] * len(drawn)
    write_frontier_page(folder, grid, found, drawn)
    text = folder.page.read_text(encoding="utf-8")
    assert text.index(first) < text.index("Which data do you need")
    assert ">below nothing released (10.0)</td>" in text
    assert ">above nothing released (10.0)</td>" in text
    above = [made(0.12)]
    assert opening_sentences(make_federations(above)) == []
    assert sentence_of(above).startswith("Linear, shopper level")
    assert "Below its floor" not in str(findings(above, make_federations(above)))


def test_a_floor_within_two_errors_is_too_close_to_tell(rows: list[Row]) -> None:
    """A difference of .01 with errors of .004 each, .0057 together, may be chance; with .003 it is not."""
    for error, close in ((0.004, True), (0.003, False)):
        (first,) = opening_sentences(make_federations([made(0.09, error=error)]))
        assert ("too close to tell apart" in first) is close


def test_popularity_without_a_promise_is_no_floor_but_is_mentioned(rows: list[Row]) -> None:
    (first,) = opening_sentences(make_federations([made(0.09, popularity=0.2)]))
    assert first.endswith("reaches 10.0 (“popularity”, which keeps no promise, is also higher: 20.0).")
    assert opening_sentences(make_federations([made(0.12, popularity=0.2)])) == []
    (free,) = opening_sentences(make_federations([made(0.12, math.inf, popularity=0.2)]))
    assert "12.0 of 100 without a promise, while its floor “popularity” reaches 20.0." in free


def test_the_text_states_what_private_data_are_worth(rows: list[Row]) -> None:
    stated = sentence_of([made(0.12), made(0.15, 8.0), made(0.18, math.inf)])
    assert "hits of 100 are 12.0 (67% of its value without a promise) at ε = 1 and 15.0 (83% of" in stated
    assert "shoppers' data change it by +2.0 at ε = 1 and +5.0 at ε = 8" in stated
    assert "clearly above its best floor (nothing released) at every ε that was run" in stated
    assert "at ε = 8 it is below EASE, the best baseline that keeps no promise (16.0)" in stated
    above = sentence_of([made(0.17, 8.0)])
    assert "it is above EASE, the best baseline" in above
    some = sentence_of([made(0.101), made(0.15, 8.0)])
    assert "clearly above its best floor (nothing released) only at ε = 8" in some
    alone = sentence_of([made(0.101)])
    assert "it is not clearly above its best floor (nothing released) at any ε that was run" in alone
    assert "so a device does as well by itself here" in alone
    assert "best sellers" not in alone


@pytest.mark.parametrize("name", ["popularity", "recent popularity"])
def test_the_text_says_where_best_sellers_win(name: str, rows: list[Row]) -> None:
    stated = sentence_of([made(0.12, **{name.replace(" ", "_"): 0.13})])
    assert (
        f"best sellers win here: “{name}”, which recommends the same items to everyone, reaches 13.0, while "
        "the best value under this promise is 12.0" in stated
    )
    assert "best sellers" not in sentence_of([made(0.12, **{name.replace(" ", "_"): 0.11})])


def test_the_text_names_best_sellers_and_the_split(rows: list[Row]) -> None:
    row = made(0.12)
    stated = " ".join(findings([row], make_federations([row]))[1].sentences)
    assert (
        f"On towels, split by next-visit: 30 devices, 300 items. {row['split_sentence']} "
        "Of 100: recent best sellers 6.0." in stated
    )


def test_shoppers_first_seen_after_the_date_have_a_sentence(rows: list[Row]) -> None:
    seen = {
        "split": "date", "at": "2025-10-18",
        "unseen_first_visit_hr@10": 0.08, "unseen_first_visit_visits": 40.0,
        "unseen_later_visits_hr@10": 0.11, "unseen_later_visits_visits": 1200.0,
    }  # fmt: skip
    row = made(0.12) | seen
    (stated,) = [one for one in findings([row], make_federations([row]))[1].sentences if "first seen" in one]
    assert stated.startswith(
        "Shoppers first seen after 2025-10-18 are not counted in any other figure. For them, hits are 8.0 of "
        "100 at their first visit"
    )
    assert (
        "(40 visits) and 11.0 of 100 at later visits, served from their own earlier purchases (1,200 visits)"
        in stated
    )
    assert stated.endswith("with linear, shopper level, central trust, at ε = 1.")
    nobody = made(0.12)
    assert "first seen" not in str(findings([nobody], make_federations([nobody])))


def test_two_splits_are_two_federations_with_a_sentence_each(rows: list[Row], tmp_path: Path) -> None:
    """Captions, alternatives, figures, table and text name the split, with the split by date first."""
    sentence = "By date: what happened before 2025-10-18 trains; the rest tests."
    dated = {"split": "date", "at": "2025-10-18", "split_sentence": sentence}
    grid = [made(0.12), made(0.2) | dated]
    found = make_federations(grid)
    assert [one.title for one in found] == [
        "towels, split by date 2025-10-18: 30 devices, 300 items",
        "towels, split by next-visit: 30 devices, 300 items",
    ]  # fmt: skip
    folder = FrontierFolder(tmp_path)
    folder.runs.mkdir()
    figures = [frontier_figure(one) for one in found]
    assert [one.name for one in figures] == ["frontier-towels-30-date", "frontier-towels-30-next-visit"]
    for one, mine, other in zip(figures, (sentence, grid[0]["split_sentence"]), found[::-1], strict=True):
        for text in (one.page.note, one.page.alternative, one.note):
            assert mine in text
            assert other.sentence not in text
        assert ("2025-10-18" in one.title) is one.name.endswith("date")
    write_frontier_page(folder, grid, found, figures)
    text = folder.page.read_text(encoding="utf-8")
    assert f"date 2025-10-18. {sentence}</dd>" in text
    assert "next-visit. By next visit: " in text
    assert "99 sampled" not in text.split('id="section-columns')[0], (
        "only under the split of published tables"
    )


def test_a_run_that_occurs_twice_counts_once(rows: list[Row]) -> None:
    """The default date and the same date by name are one split, so a seed of both is one run."""
    row = made(0.12) | {"split": "date", "at": "2025-10-18"}
    (federation,) = make_federations([row, row | {"at_asked": "2025-10-18"}, row | {"seed": 1}])
    assert [len(point.rows) for point in federation.points] == [2]
    assert len(make_federations([row, row | {"at": "2025-10-19", "at_asked": "2025-10-19"}])) == 2


def test_sizes_of_one_split_are_a_family_even_if_their_dates_differ(rows: list[Row]) -> None:
    row = made(0.12) | {"split": "date", "at": "2025-10-18"}
    grid = [row, row | {"devices": 60, "at": "2025-10-20"}, row | {"split": "next-visit", "at": None}]
    assert [[one.devices for one in family] for family in families(make_federations(grid))] == [
        [30, 60],
        [30],
    ]
    other = row | {"at": "2025-10-20", "at_asked": "2025-10-20"}
    assert len(families(make_federations([row, other]))) == 2


def test_the_page_lists_missing_comparisons(folder: FrontierFolder, rows: list[Row], tmp_path: Path) -> None:
    cells = expand([COMMON | {"model": "linear", "epsilon": 1}])
    reasons = {cells[0].references[-1].name: "a reason & how to fix it"}
    stated = not_compared(FrontierFolder(tmp_path), cells, reasons)
    assert stated == ["a reason & how to fix it"]
    other = FrontierFolder(tmp_path / "older")
    other.open([COMMON])
    other.reference(cells[0].references[0]).write_text('{"popularity": null}')
    assert any(
        "is damaged, or of another schema: remove it" in line for line in not_compared(other, cells, {})
    )
    write_frontier_page(other := FrontierFolder(tmp_path), rows, [], draw_all(other, []), stated)
    assert "Missing comparison: a reason &amp; how to fix it." in other.page.read_text(encoding="utf-8")


def test_a_baseline_that_is_left_out_is_reported_once(
    folder: FrontierFolder, done: tuple[FrontierFolder, list[Row], Reasons]
) -> None:
    stated = not_compared(folder, expand(TABLES), done[2])
    assert stated.count(LEFT_OUT) == 1
    assert f"Missing comparison: {LEFT_OUT}." in folder.page.read_text(encoding="utf-8")


def test_csv_and_parquet_hold_the_same_table(folder: FrontierFolder, rows: list[Row]) -> None:
    written, read = pd.read_csv(folder.csv), pd.read_parquet(folder.parquet)
    assert list(written.columns) == list(read.columns) == list(COLUMNS)
    assert read["below_floor"].dtype == "boolean"
    for name in ("hr@10", "sampled_ndcg@10", "central_hr@10", "epsilon", "above_nothing_released"):
        pd.testing.assert_series_equal(written[name], read[name], check_exact=True)
    with folder.csv.open(newline="", encoding="utf-8") as file:
        assert [float(line["epsilon"]) for line in csv.DictReader(file)] == [row["epsilon"] for row in rows]


@pytest.mark.slow
def test_the_command_of_a_cell_repeats_its_result(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from terrycloth.experiments.cli import main

    row = next(row for row in rows if row["model"] == "attributes" and row["status"] == "done")
    out = tmp_path / "again"
    monkeypatch.setattr("sys.argv", [*shlex.split(row["command"]), "--out", str(out), "--quiet"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert RunFolder(out).read_result().metrics.full["hr@10"] == row["hr@10"]


def test_a_finished_cell_is_not_run_again(folder: FrontierFolder) -> None:
    job = expand(TABLES)[0]
    before = folder.run(job).result.stat().st_mtime_ns
    assert do_job(folder.path, job) is None
    assert folder.run(job).result.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "kept",
    [
        [],
        ["config.toml"],
        ["config.toml", "rounds.csv"],
        ["rounds.csv", "checkpoint.safetensors"],
        ["config.toml", "rounds.csv", "checkpoint.safetensors"],
    ],
)
def test_an_interrupted_cell_ends_like_an_unbroken_one(
    kept: list[str], folder: FrontierFolder, rows: list[Row], tmp_path: Path
) -> None:
    """If its folder was incomplete, or something is missing, the cell starts anew; otherwise it continues."""
    number, cell = next(
        (i, cell) for i, cell in enumerate(expand(TABLES)) if cell.config.model == "attributes"
    )
    other = FrontierFolder(tmp_path / "other")
    other.open(TABLES)
    shutil.copytree(folder.run(cell).path, other.run(cell).path)
    other.run(cell).result.unlink()
    for path in other.run(cell).path.iterdir():
        state = path.name in ("config.toml", "rounds.csv", "checkpoint.safetensors")
        if path.is_file() and path.name not in kept and (state or "rounds.csv" not in kept):
            path.unlink()
    assert do_job(other.path, cell) is None
    again = make_rows(other, [cell], {})[0]
    for column in ("hr@10", "ndcg@10", "mrr", "sampled_hr@10", "epsilon_spent", "bytes_up_per_device"):
        assert again[column] == rows[number][column]


def test_a_cell_whose_checkpoint_is_damaged_says_what_to_do(folder: FrontierFolder, tmp_path: Path) -> None:
    cell = next(cell for cell in expand(TABLES) if cell.config.model == "attributes")
    other = FrontierFolder(tmp_path / "other")
    other.open(TABLES)
    shutil.copytree(folder.run(cell).path, other.run(cell).path)
    other.run(cell).result.unlink()
    (other.run(cell).path / "checkpoint.safetensors").write_bytes(b"cut short")
    reason = do_job(other.path, cell)
    assert reason is not None
    assert re.search(r"checkpoint\.safetensors is damaged: remove .*, and start the run again", reason)


def test_a_result_of_another_schema_is_reported_and_not_changed(
    folder: FrontierFolder, tmp_path: Path
) -> None:
    cell = expand(TABLES)[0]
    other = FrontierFolder(tmp_path / "other")
    other.open(TABLES)
    shutil.copytree(folder.run(cell).path, other.run(cell).path)
    result = other.run(cell).result
    result.write_text(result.read_text().replace('"schema": 2', '"schema": 1'))
    assert do_job(other.path, cell) is None
    row = make_rows(other, [cell], {})[0]
    assert (row["status"], row["hr@10"]) == ("failed", None)
    assert "of another schema" in row["reason"]
    assert '"schema": 1' in result.read_text()


def test_seeds_make_one_point_and_no_promise_is_last_on_every_line(rows: list[Row]) -> None:
    small, large = make_federations(rows)
    assert (small.devices, large.devices) == (30, 60)
    linear, attributes = small.all_series
    assert [point.epsilon for point in linear.points] == [1.0, 8.0, math.inf]
    assert [point.epsilon for point in attributes.points] == [4.0]
    assert {len(point.rows) for line in small.all_series for point in line.points} == {2}
    assert linear.label == "linear, shopper level, central trust"
    assert (attributes.free, linear.free is not None) == (None, True)


def test_a_spread_is_the_minimum_the_mean_and_the_maximum() -> None:
    point = Point(tuple({"hr@10": value, "unit": "none"} for value in (0.25, 0.5, None, 0.75)))
    spread = point.spread("hr@10")
    assert spread is not None
    assert (spread.low, spread.mean, spread.high) == (0.25, 0.5, 0.75)
    assert Point(({"hr@10": None},)).mean("hr@10") is None


def test_above_the_floor_means_by_two_standard_errors(rows: list[Row]) -> None:
    """A difference of .02 is clear with errors of .006 each (.0085 together), but not with .008 (.0113)."""
    for error, clearly in ((0.006, True), (0.008, False)):
        (federation,) = make_federations([made(0.12, error=error)])
        assert is_above(federation.points[0]) is clearly
    unknown = made(0.5) | {"nothing_released_hr@10_error": None}
    assert not is_above(make_federations([unknown])[0].points[0]), (
        "a point without a standard error is not above"
    )
    assert not is_above(make_federations([made(0.09)])[0].points[0])


def test_of_several_central_models_the_best_is_shown(rows: list[Row]) -> None:
    row = next(row for row in rows if row["unit"] == "none" and row["status"] == "done")
    levels = {"dim = 2": (0.1, 0.09), "dim = 4": (0.3, 0.02), "dim = 8": (0.2, 0.05)}
    several = [
        row | {"variant": variant, "central_hr@10": hits, "central_ndcg@10": gains}
        for variant, (hits, gains) in levels.items()
    ]
    (federation,) = make_federations(several)
    model = row["model"]
    assert federation.level("central", "hr@10", model) == 0.3
    assert federation.level("central", "ndcg@10", model) == 0.02, "it is the figure of the same model"
    assert federation.level("central", "hr@10", "another") is None
    (central,) = [one for one in baselines_of(federation) if one.label == f"central {model}"]
    assert [spread and spread.mean for spread in central.values.values()] == [0.3, 0.02]


def test_the_answers_follow_from_the_results(rows: list[Row]) -> None:
    stated = {
        answer.question: " ".join(answer.sentences) for answer in findings(rows, make_federations(rows))
    }
    assert len(stated) == 4
    assert "16 of 20 runs finished; the failed runs (4) are listed with their reasons" in " ".join(
        stated.values()
    )
    assert "not private" in stated["Are you open about it?"]
    (only,) = findings([row | {"status": "failed"} for row in rows], [])
    assert "0 of 20 runs finished" in " ".join(only.sentences)


class Structure(HTMLParser):
    """Collects elements with their attributes, and every id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)
        self.ids = [attributes["id"] for _, attributes in self.opened if "id" in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.opened if name == tag]


@pytest.fixture
def page(folder: FrontierFolder) -> Structure:
    return Structure(folder.page.read_text(encoding="utf-8"))


def test_the_page_needs_no_network(page: Structure) -> None:
    loaded = [value for _, stated in page.opened for name in ("src", "href") if (value := stated.get(name))]
    assert loaded
    assert all(value.startswith(("#", "figures/", "frontier.", "data:")) for value in loaded)


def test_the_page_is_usable_by_keyboard_and_screen_reader(page: Structure) -> None:
    assert len(page.ids) == len(set(page.ids))
    pointed = [name for _, stated in page.opened for name in stated.get("aria-labelledby", "").split()]
    assert set(pointed) <= set(page.ids)
    pictures = [stated for _, stated in page.opened if stated.get("role") == "img"]
    assert len(pictures) == len(page.of("figure")) == 6
    tables = [table for table in page.of("table") if table.get("class") == "sortable"]
    assert len(tables) == 3
    assert len(page.of("caption")) == len(page.of("table")) == 3 + 6
    headings = [th for th in page.of("th") if "aria-sort" in th]
    assert len(headings) == len(page.of("button")) == 7 + 6 + 2
    assert page.of("html")[0]["lang"] == "en"


def test_every_point_is_on_the_page_with_its_promise(
    page: Structure, folder: FrontierFolder, rows: list[Row]
) -> None:
    text = folder.page.read_text(encoding="utf-8")
    points = sum(len(federation.points) for federation in make_federations(rows))
    assert text.count("<summary>promise, all metrics and commands</summary>") == points == 8
    # For each size there is a promise at each of three points, for two private popularities each, and for
    # Flower's strategy. One is repeated below the first screen.
    assert text.count(" tell whether ") == 2 * (3 + 2 * 3 + 1) + 1
    levels = len(BASELINES) - 2 + 1  # all but the two that were not computed, and the central linear model
    assert text.count("<summary>description and all metrics</summary>") == 2 * (levels + 2 * 3 + 1)
    assert text.count("<code>terry simulate") == len(rows)


def test_the_figures_are_written_for_papers(folder: FrontierFolder) -> None:
    names = {path.name for path in folder.figures.iterdir()}
    stems = {"frontier-towels-30-next-visit", "frontier-towels-60-next-visit", "bytes-towels-next-visit"}
    stems |= {"rounds-towels-next-visit", "devices-towels-next-visit-linear"}
    stems |= {"devices-towels-next-visit-attributes-rounds-2"}
    assert names == {f"{stem}.{ending}" for stem in stems for ending in ("svg", "png")}


def test_a_learning_curve_is_the_mean_of_its_seeds_after_each_evaluated_round(tmp_path: Path) -> None:
    """Only rounds that every seed evaluated count; .1 and .3 have mean .2."""
    hits: dict[str, list[float | None]] = {"a": [0.1, None, 0.5], "b": [0.3, 0.4, 0.7]}
    for run, measured in hits.items():
        (tmp_path / run).mkdir()
        RunFolder(tmp_path / run).write_rounds(
            [
                {"round": round} | ({} if hit is None else {"hr@10": hit, "ndcg@10": hit / 10})
                for round, hit in enumerate(measured, start=1)
            ]
        )
    course = training_curve(tmp_path, Point(tuple({"run": run} for run in hits)))
    assert course.rounds == (1, 3)
    assert course.means["hr@10"] == pytest.approx((0.2, 0.6))
    assert course.means["ndcg@10"] == pytest.approx((0.02, 0.06))


def test_each_delta_has_its_own_line(rows: list[Row]) -> None:
    row = next(row for row in rows if row["epsilon"] == 1.0 and row["devices"] == 30)
    (federation,) = make_federations([row, row | {"delta": 1e-6}])
    assert [line.label for line in federation.all_series] == [
        f"linear, shopper level, central trust, δ = {delta}" for delta in ("1e-05", "1e-06")
    ]
    assert len({curve.label for curve in federation.curves("private_popularity")}) == 2


def test_a_run_with_zero_noise_is_no_promise(rows: list[Row]) -> None:
    """With --noise-multiplier 0 it is shown beside the runs without a promise, and does not replace them."""
    bounded = next(row for row in rows if row["epsilon"] == 1.0 and row["devices"] == 30)
    free = next(row for row in rows if row["unit"] == "none" and row["devices"] == 30)
    unbounded = bounded | {"epsilon": None, "epsilon_spent": None}
    for given in ([free, unbounded], [unbounded, free]):
        (federation,) = make_federations(given)
        assert [point.epsilon for point in federation.points] == [math.inf, math.inf]
        assert [line.free.of("unit") for line in federation.all_series if line.free] == ["none"]


def test_the_answers_use_the_largest_size_that_has_a_promise(rows: list[Row]) -> None:
    fewer = [row for row in rows if row["devices"] == 30 or row["unit"] == "none"]
    sentences = findings(fewer, make_federations(fewer))[2].sentences
    assert sum("on towels (split by next-visit, 30 devices)" in sentence for sentence in sentences) == 2
    free = [row for row in rows if row["unit"] == "none"]
    assert "No run here made a promise" in findings(free, make_federations(free))[2].sentences[1]


def test_the_text_warns_of_a_catalogue_made_from_events(rows: list[Row]) -> None:
    row = next(row for row in rows if row["unit"] == "shopper" and row["status"] == "done")
    for all_rows, stated in (([row], False), ([row, row | {"catalogue_from_events": True}], True)):
        sentences = " ".join(findings(all_rows, make_federations(all_rows))[3].sentences)
        assert ("A catalogue that lists what its shoppers chose" in sentences) is stated


def test_the_text_says_who_counted_the_hits(rows: list[Row]) -> None:
    row = next(row for row in rows if row["unit"] == "shopper" and row["status"] == "done")
    counted = row | {"evaluated": True}
    for all_rows, says in (
        ([row], "is not released."),
        ([row, counted], "is not released, except in 1 runs whose devices counted hits"),
    ):
        assert says in " ".join(findings(all_rows, make_federations(all_rows))[3].sentences)


def test_foreign_text_is_escaped(rows: list[Row], folder: FrontierFolder, tmp_path: Path) -> None:
    evil = [row | {"data": "<script>alert(1)</script>", "reason": "<img src=x>"} for row in rows]
    other = FrontierFolder(tmp_path)
    found = make_federations(evil)
    write_frontier_page(other, evil, found, [frontier_figure(found[0])])
    text = other.page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img" not in text


def test_a_grid_in_which_everything_failed_has_a_page(folder: FrontierFolder, tmp_path: Path) -> None:
    cells = [Cell.of({"devices": 30, "unit": "shopper", "trust": "central", "delta": 0.5, "seed": 0})]
    failed = make_rows(folder, cells, {cells[0].name: "a reason"})
    write_table(other := FrontierFolder(tmp_path), failed)
    write_frontier_page(other, failed, [], draw_all(other, []))
    assert "a reason" in other.page.read_text(encoding="utf-8")
    assert len(pd.read_parquet(other.parquet)) == 1
