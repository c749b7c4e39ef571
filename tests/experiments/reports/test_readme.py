"""The tables between README's markers equal those of the frontiers, to the third digit."""

from pathlib import Path

import pytest

from terrycloth.experiments.frontier.table import COLUMNS
from terrycloth.experiments.reports.readme import BLOCK, KINDS, main

WITH_TABLES = ("README.md", "docs/results.md", "docs/last-item.md")
SENTENCE = "By date: what happened before 2025-10-18 trains; the rest tests."
ROW = dict.fromkeys(COLUMNS, "") | {
    "data": "towels", "devices": 2000, "model": "linear", "negative_sampling": "clean", "split": "date",
    "at": "2025-10-18", "repeats": "exclude", "split_sentence": SENTENCE, "secure_aggregation_off": False,
}  # fmt: skip
NEXT = {"split": "next-visit", "at": "", "split_sentence": "By next visit: the test is the last visit."}
LAST = {"split": "last-item", "at": "", "split_sentence": "By last item: one item of the last visit."}


def row(unit: str, epsilon: str, seed: int, hit_rate: float, **more: object) -> dict[str, object]:
    trust = "" if unit == "none" else "central"
    measured = {
        "hr@10": hit_rate,
        "ndcg@10": hit_rate / 2,
        "sampled_hr@10": hit_rate * 2,
        "sampled_ndcg@10": hit_rate,
    }
    settings = {"unit": unit, "trust": trust, "epsilon": epsilon, "seed": seed, "popularity_hr@10": 0.1}
    return ROW | settings | {"popularity_ndcg@10": 0.05} | measured | more


def frontier(folder: Path, *rows: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    lines = [
        ",".join(COLUMNS),
        *(",".join(f'"{one[name]}"' if one[name] != "" else "" for name in COLUMNS) for one in rows),
    ]
    (folder / "frontier.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def remade(tmp_path: Path, marker: str) -> str:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n<!-- table: {marker} -->\nas it was\n<!-- end -->\nafter\n", encoding="utf-8")
    main([readme], tmp_path / "runs")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n<!-- table: {marker} -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    return text


def test_a_row_has_a_promise_and_the_mean_over_its_seeds(tmp_path: Path) -> None:
    frontier(
        tmp_path / "runs" / "towels",
        row("none", "inf", 0, 0.2, **{"ceiling_hr@10": 0.23, "ceiling_ndcg@10": 0.12}),
        row("shopper", "8.0", 0, 0.18),
        row("shopper", "8.0", 1, 0.16),
    )
    text = remade(tmp_path, "promises towels")
    date = "date 2025-10-18"
    assert f"| none | {date} | 2,000 | .200 / .100 |  | .100 / .050 |  | .230 / .120 |" in text
    assert f"| shopper, central, ε = 8 | {date} | 2,000 | .170 / .085 |  | .100 / .050 |  |  |" in text
    assert f"\n{SENTENCE}\n" in text
    assert "as it was" not in text


def test_a_run_without_secure_aggregation_is_labelled(tmp_path: Path) -> None:
    secure = {"trust": "distributed", "promise": "a sum by secure aggregation"}
    frontier(
        tmp_path / "runs" / "towels",
        row("shopper", "8.0", 0, 0.18, **secure),
        row("shopper", "1.0", 0, 0.16, **secure | {"secure_aggregation_off": True}),
    )
    text = remade(tmp_path, "promises towels")
    assert "| shopper, distributed, ε = 8 |" in text
    assert "| shopper, distributed (no secure aggregation), ε = 1 |" in text


def test_the_costs_of_each_epsilon_begin_with_the_split_by_date(tmp_path: Path) -> None:
    """There is one row a split, in any order of the runs; the split of published tables is not included."""
    ease = {"ease_hr@10": 0.12, "ease_ndcg@10": 0.06, "ials_hr@10": 0.13, "ials_ndcg@10": 0.04}
    nothing = {"nothing_released_hr@10": 0.08, "nothing_released_ndcg@10": 0.03}
    frontier(
        tmp_path / "runs" / "online-retail",
        row("none", "inf", 0, 0.3, **NEXT),
        row("none", "inf", 0, 0.9, **LAST),
        row("none", "inf", 0, 0.2, **ease, **nothing),
        row("shopper", "2.0", 0, 0.15, **ease, **nothing),
        row("shopper", "2.0", 1, 0.17, **ease, **nothing),
        row("shopper", "2.0", 1, 0.9, **ease, trust="local"),
    )
    text = remade(tmp_path, "costs online-retail")
    first, second = (line for line in text.splitlines() if line.startswith("| Online Retail"))
    assert first == (
        "| Online Retail | date 2025-10-18 | .100 / .050 |  | .080 / .030 | iALS .130 / .040 | .200 / .100 "
        "|  |  | .160 / .080 |  |"
    )
    assert second == "| Online Retail | next-visit | .100 / .050 |  |  |  | .300 / .150 |  |  |  |  |"
    assert f"\n{SENTENCE}\n\n{NEXT['split_sentence']}\n" in text
    assert "last item" not in text
    assert "†" not in text


def test_different_dates_are_stated_in_the_rows(tmp_path: Path) -> None:
    other = {"at": "2011-11-02", "split_sentence": SENTENCE.replace("2025-10-18", "2011-11-02")}
    frontier(tmp_path / "runs" / "online-retail", row("none", "inf", 0, 0.2, **other))
    frontier(tmp_path / "runs" / "complete-journey", row("none", "inf", 0, 0.2))
    text = remade(tmp_path, "costs online-retail complete-journey")
    assert "| Online Retail | date 2011-11-02 |" in text
    assert "| Complete Journey | date 2025-10-18 |" in text
    assert text.count("By date: what happened before the date trains; the rest tests.") == 1
    assert SENTENCE not in text


@pytest.mark.parametrize(
    ("unit", "levels", "marked"),
    [
        ("shopper", {"nothing_released_hr@10": 0.16}, True),
        ("shopper", {"nothing_released_hr@10": 0.14}, False),
        ("shopper", {"private_popularity_hr@10": 0.16}, True),
        ("shopper", {"private_recent_popularity_hr@10": 0.16}, True),
        ("shopper", {"popularity_hr@10": 0.16, "recent_popularity_hr@10": 0.16}, False),
        ("shopper", {"ease_hr@10": 0.16, "central_hr@10": 0.16}, False),
        ("none", {"popularity_hr@10": 0.16}, True),
        ("none", {"recent_popularity_hr@10": 0.16}, True),
        ("none", {"nothing_released_hr@10": 0.16}, True),
        ("none", {"ease_hr@10": 0.16}, False),
    ],
    ids=str,
)
def test_a_figure_below_its_floor_is_marked(
    unit: str, levels: dict[str, float], marked: bool, tmp_path: Path
) -> None:
    """The mean of the seeds, .15, decides, not the one seed of .1."""
    epsilon = "inf" if unit == "none" else "8.0"
    rows = [row(unit, epsilon, seed, rate, **levels) for seed, rate in enumerate((0.1, 0.2))]
    frontier(tmp_path / "runs" / "online-retail", *rows)
    for kind in ("costs online-retail", "promises online-retail"):
        text = remade(tmp_path, kind)
        assert ("| .150 / .075 † |" in text) is marked
        assert ("\n† HR@10 is below its best floor" in text) is marked
        assert ("| .150 / .075 |" in text) is not marked


def test_the_split_of_published_tables_has_a_table_with_both_rankings(tmp_path: Path) -> None:
    ease = {"ease_hr@10": 0.12, "ease_ndcg@10": 0.06, "ease_sampled_hr@10": 0.7, "ease_sampled_ndcg@10": 0.4}
    frontier(
        tmp_path / "runs" / "movielens",
        row("none", "inf", 0, 0.9, **NEXT),
        row("none", "inf", 0, 0.2, **LAST, **ease),
        row("shopper", "2.0", 0, 0.05, **LAST, **ease, **{"private_popularity_hr@10": 0.06}),
    )
    text = remade(tmp_path, "published movielens")
    assert (
        "| MovieLens 100K, whole catalogue | .100 / .050 | .120 / .060 |  | .200 / .100 |  |  | .050 / .025 †"
        in text
    )
    assert "| of 100 |  | .700 / .400 |  | .400 / .200 |  |  | .100 / .050 |  |" in text
    assert f"\n{LAST['split_sentence']}\n" in text
    assert ".900" not in text


def test_the_table_of_both_protocols(tmp_path: Path) -> None:
    frontier(
        tmp_path / "runs" / "leak",
        row("none", "inf", 0, 0.2, **LAST),
        row("none", "inf", 0, 0.4, negative_sampling="leaky", **LAST),
        row("none", "inf", 0, 0.3, variant="dim = 8", **LAST),
    )
    text = remade(tmp_path, "protocols leak")
    assert "| `linear` | .400 / .200 | .800 / .400 |\n" in text
    assert "| `linear`, dim = 8 | .600 / .300 |  |\n" in text, "other settings make another row"
    assert "| by last-item, of 100 | clean | leaky |" in text
    assert f"\n{LAST['split_sentence']}\n" in text


def test_a_table_without_a_run_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frontier(tmp_path / "runs" / "movielens", row("none", "inf", 0, 0.2))
    assert "as it was" in remade(tmp_path, "costs movielens online-retail")
    assert "online-retail was not run" in capsys.readouterr().err


def test_a_table_of_runs_older_than_named_splits_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "movielens"
    folder.mkdir(parents=True)
    (folder / "frontier.csv").write_text("data,hr@10\nmovielens,0.2\n", encoding="utf-8")
    assert "as it was" in remade(tmp_path, "costs movielens")
    assert "movielens was run before splits had names" in capsys.readouterr().err


def test_several_files_are_written(tmp_path: Path) -> None:
    frontier(tmp_path / "runs" / "movielens", row("none", "inf", 0, 0.2, **LAST))
    files = [tmp_path / "one.md", tmp_path / "two.md"]
    for file in files:
        file.write_text("<!-- table: published movielens -->\n<!-- end -->\n", encoding="utf-8")
    main(files, tmp_path / "runs")
    assert all("MovieLens 100K" in file.read_text(encoding="utf-8") for file in files)


def test_the_markers_in_readme_and_docs_name_known_tables() -> None:
    root = Path(__file__).parents[3]
    texts = [(root / name).read_text(encoding="utf-8") for name in WITH_TABLES]
    assert {found[2] for text in texts for found in BLOCK.finditer(text)} == set(KINDS)
    for text in texts:
        assert text.count("<!-- table: ") == len(list(BLOCK.finditer(text)))


def test_make_figures_runs_the_frontiers_that_the_tables_need() -> None:
    """Each name in a marker is a folder of a frontier there, and every file with tables is written."""
    root = Path(__file__).parents[3]
    recipe = (root / "Makefile").read_text(encoding="utf-8").split("\nfigures:")[1].split("\n\n")[0]
    for name in WITH_TABLES:
        text = (root / name).read_text(encoding="utf-8")
        assert name in recipe
        for found in BLOCK.finditer(text):
            for folder in found[3].split():
                assert f"--out $(FIGURES)/{folder}\n" in recipe
