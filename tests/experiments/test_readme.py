"""The tables between README's markers are those of the frontiers, to the third digit."""

from pathlib import Path

import pytest

from experiments.frontier.table import COLUMNS
from experiments.readme import BLOCK, KINDS, main

ROW = dict.fromkeys(COLUMNS, "") | {"data": "towels", "devices": 2000, "model": "linear", "protocol": "clean"}


def row(unit: str, epsilon: str, seed: int, hit_rate: float, **more: object) -> dict[str, object]:
    trust = "" if unit == "none" else "central"
    measured = {
        "hr@10": hit_rate,
        "ndcg@10": hit_rate / 2,
        "sampled_hr@10": hit_rate * 2,
        "sampled_ndcg@10": hit_rate,
    }
    said = {"unit": unit, "trust": trust, "epsilon": epsilon, "seed": seed, "popularity_hr@10": 0.1}
    return ROW | said | {"popularity_ndcg@10": 0.05} | measured | more


def frontier(folder: Path, *rows: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    lines = [",".join(COLUMNS), *(",".join(str(one[name]) for name in COLUMNS) for one in rows)]
    (folder / "frontier.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def remade(tmp_path: Path, marker: str) -> str:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n<!-- table: {marker} -->\nas it was\n<!-- end -->\nafter\n", encoding="utf-8")
    main(readme, tmp_path / "runs")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n<!-- table: {marker} -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    return text


def test_a_row_is_a_promise_and_the_mean_over_its_seeds(tmp_path: Path) -> None:
    frontier(
        tmp_path / "runs" / "towels",
        row("none", "inf", 0, 0.2, **{"ceiling_hr@10": 0.23, "ceiling_ndcg@10": 0.12}),
        row("shopper", "8.0", 0, 0.18),
        row("shopper", "8.0", 1, 0.16),
    )
    text = remade(tmp_path, "promises towels")
    assert "| none | 2,000 | .200 / .100 |  | .100 / .050 | .230 / .120 |" in text
    assert "| shopper, central, ε = 8 | 2,000 | .170 / .085 |  | .100 / .050 |  |" in text
    assert "as it was" not in text


def test_masks_are_called_skipped_where_they_were(tmp_path: Path) -> None:
    secure = {"trust": "distributed", "promise": "a sum by secure aggregation"}
    frontier(
        tmp_path / "runs" / "towels",
        row("shopper", "8.0", 0, 0.18, **secure),
        row("shopper", "1.0", 0, 0.16, **secure | {"promise": "simulated without secure aggregation"}),
    )
    text = remade(tmp_path, "promises towels")
    assert "| shopper, distributed, ε = 8 |" in text
    assert "| shopper, distributed (masks skipped), ε = 1 |" in text


def test_what_each_epsilon_costs(tmp_path: Path) -> None:
    frontier(tmp_path / "runs" / "movielens", row("none", "inf", 0, 0.2), row("shopper", "2.0", 0, 0.15))
    text = remade(tmp_path, "costs movielens")
    assert (
        "| MovieLens 100K, whole catalogue | .100 / .050 |  |  | .200 / .100 |  |  | .150 / .075 |  |" in text
    )
    assert "| of 100 |  |  |  | .400 / .200 |  |  | .300 / .150 |  |" in text


def test_both_protocols(tmp_path: Path) -> None:
    frontier(
        tmp_path / "runs" / "leak",
        row("none", "inf", 0, 0.2),
        row("none", "inf", 0, 0.4, protocol="leaky"),
        row("none", "inf", 0, 0.3, variant="dim = 8"),
    )
    text = remade(tmp_path, "protocols leak")
    assert "| `linear` | .400 / .200 | .800 / .400 |\n" in text
    assert "| `linear`, dim = 8 | .600 / .300 |  |\n" in text, "other settings are another row"


def test_what_was_not_run_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frontier(tmp_path / "runs" / "movielens", row("none", "inf", 0, 0.2))
    assert "as it was" in remade(tmp_path, "costs movielens online-retail")
    assert "online-retail was not run" in capsys.readouterr().err


def test_the_markers_of_readme_name_tables_that_can_be_made() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert {found[2] for found in BLOCK.finditer(text)} == set(KINDS)
    assert text.count("<!-- table: ") == len(list(BLOCK.finditer(text)))
