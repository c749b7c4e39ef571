"""Rewrite the accuracy tables in README and docs from the frontiers that `make figures` ran.

    python -m terrycloth.experiments.reports.readme README.md docs/results.md docs/last-item.md FOLDER

FOLDER/NAME is the folder of a frontier. The function KIND makes the table between the comments
`<!-- table: KIND NAME … -->` and `<!-- end -->` from all named frontiers. If one of them was not run, the
table stays as it is.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.baselines.floors import STRONG, best_floor, floors_of
from terrycloth.experiments.settings.split_names import SPLITS

BLOCK = re.compile(r"(<!-- table: (\w+) ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
PRIVATE = (8.0, 4.0, 2.0, 1.0)
TITLES = {
    "movielens": "MovieLens 100K",
    "movielens-last-item": "MovieLens 100K",
    "movielens-1m": "MovieLens 1M",
    "online-retail": "Online Retail",
    "complete-journey": "Complete Journey",
    "towels": "Towels",
}
FLOORS_SHOWN = ("popularity", "recent_popularity", NOTHING_RELEASED)
BELOW = "†"
BELOW_MEANS = (
    f"{BELOW} HR@10 is below its best floor: under a promise, nothing released or (recent) popularity that "
    "is released under the same promise; without one, any floor."
)

Frontiers = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Table:
    """A table. lines: the header, then the rows. notes: sentences to write below it."""

    lines: list[list[str]]
    notes: list[str] = field(default_factory=list)


def mean(rows: pd.DataFrame, prefix: str = "") -> str:
    """Return mean HR@10 / NDCG@10 over the seeds as text, or an empty text if they were not measured."""
    columns = [f"{prefix}hr@10", f"{prefix}ndcg@10"]
    measured = rows[columns].mean() if set(columns) <= set(rows) else pd.Series([float("nan")])
    return (
        " / ".join(f"{value:.3f}".removeprefix("0") for value in measured) if measured.notna().all() else ""
    )


def marked_mean(rows: pd.DataFrame) -> str:
    """Return `mean` of the runs themselves, marked if their mean HR@10 is below the best floor."""
    text = mean(rows)
    return f"{text} {BELOW}" if text and is_below(rows) else text


def is_below(rows: pd.DataFrame) -> bool:
    """Whether the mean HR@10 of the rows, all of one point, is below the best of its floors."""
    private = bool((rows["unit"] != "none").all())
    floor = best_floor({name: level(rows, name) for name in floors_of(private)}, private)
    return floor is not None and float(rows["hr@10"].mean()) < floor[1]


def level(rows: pd.DataFrame, name: str) -> float | None:
    """Return a baseline's mean HR@10, or None if it was not measured."""
    column = f"{name}_hr@10"
    value = float(rows[column].mean()) if column in rows else float("nan")
    return None if value != value else value


def best_strong(rows: pd.DataFrame) -> str:
    """Return the best baseline that pools all shoppers' data, with its name; empty if none was measured."""
    levels = {name: value for name in STRONG if (value := level(rows, name)) is not None}
    best = max(levels, key=lambda name: levels[name], default=None)
    return "" if best is None else f"{label_of(best)} {mean(rows, f'{best}_')}"


def promise_of(row: pd.Series) -> str:
    """Return unit, trust and ε in few words."""
    if row["unit"] == "none":
        return "none"
    unmasked = " (no secure aggregation)" if row["secure_aggregation_off"] else ""
    return f"{row['unit']}, {row['trust']}{unmasked}, ε = {row['epsilon']:g}"


def split_of(row: pd.Series) -> str:
    """Return the split in few words, with its date if it has one."""
    parts = [row["split"], *([row["at"]] if isinstance(row["at"], str) else [])]
    return " ".join(parts) + (", repeats counted" if row["repeats"] == "include" else "")


def sentences(tables: Iterable[pd.DataFrame]) -> list[str]:
    """Return each split's sentence once. If dates differ, the sentence refers to the date in the rows."""
    by_split_rule: dict[tuple[str, str], dict[str, str]] = {}
    for table in tables:
        for _, row in table.drop_duplicates(["split", "at", "repeats"]).iterrows():
            key = (row["split"], row["repeats"])
            sentence = row["split_sentence"]
            general = sentence.replace(row["at"], "the date") if isinstance(row["at"], str) else sentence
            by_split_rule.setdefault(key, {})[sentence] = general
    ordered = sorted(by_split_rule, key=lambda key: (SPLITS.index(key[0]), key[1]))
    return [
        text
        for key in ordered
        for text in (
            by_split_rule[key] if len(by_split_rule[key]) == 1 else dict.fromkeys(by_split_rule[key].values())
        )
    ]


def by_split(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the finished rows of each split, starting with `date`."""
    done = table[table["hr@10"].notna()]
    groups = [rows for _, rows in done.groupby(["split", "at", "repeats"], sort=False, dropna=False)]
    return sorted(groups, key=lambda rows: SPLITS.index(rows.iloc[0]["split"]))


def promises(frontiers: Frontiers) -> Table:
    """Return one row per promise and size, with the central model, floors and ceiling; whole catalogue."""
    (table,) = frontiers.values()
    lines = [
        ["promise", "split", "devices", "federated", "the same model, central, not private", "popularity",
         label_of(NOTHING_RELEASED), "ceiling"]
    ]  # fmt: skip
    keys = ["unit", "trust", "epsilon", "devices", "split", "at", "repeats"]
    for _, rows in table[table["hr@10"].notna()].groupby(keys, sort=False, dropna=False):
        first = rows.iloc[0]
        baselines = [
            mean(rows, f"{name}_") for name in ("central", "popularity", NOTHING_RELEASED, "ceiling")
        ]
        labels = [promise_of(first), split_of(first), f"{first['devices']:,}"]
        lines.append([*labels, marked_mean(rows), *baselines])
    return noted(lines, [table])


def costs(frontiers: Frontiers) -> Table:
    """Return one row per data set and split except `last-item`: accuracy at each ε, whole catalogue."""
    lines = [
        ["data", "split", *(label_of(name) for name in FLOORS_SHOWN), "best strong baseline", "no promise",
         *(f"ε = {one:g}" for one in PRIVATE)]
    ]  # fmt: skip
    tables = {name: table[table["split"] != "last-item"] for name, table in frontiers.items()}
    for name, table in tables.items():
        for rows in by_split(table):
            open_, central = rows[rows["unit"] == "none"], rows[rows["trust"] == "central"]
            floors = [mean(rows, f"{floor}_") for floor in FLOORS_SHOWN]
            private = [marked_mean(central[central["epsilon"] == one]) for one in PRIVATE]
            labels = [TITLES.get(name, name), split_of(rows.iloc[0])]
            lines.append([*labels, *floors, best_strong(rows), marked_mean(open_), *private])
    return noted(lines, tables.values())


def published(frontiers: Frontiers) -> Table:
    """Return two rows per data set under `last-item`, as in published tables: full and 99 negatives."""
    lines = [
        [
            "data, by last-item",
            "popularity",
            "EASE",
            "iALS",
            "no promise",
            *(f"ε = {one:g}" for one in PRIVATE),
        ]
    ]
    tables = {name: table[table["split"] == "last-item"] for name, table in frontiers.items()}
    for name, table in tables.items():
        open_, central = table[table["unit"] == "none"], table[table["trust"] == "central"]
        for prefix, ranking in (("", f"{TITLES.get(name, name)}, whole catalogue"), ("sampled_", "of 100")):
            of_points = [open_, *(central[central["epsilon"] == one] for one in PRIVATE)]
            values = [mean(rows, prefix) if prefix else marked_mean(rows) for rows in of_points]
            lines.append(
                [
                    ranking,
                    *(mean(table, f"{one}_{prefix}") for one in ("popularity", "ease", "ials")),
                    *values,
                ]
            )
    return noted(lines, tables.values())


def protocols(frontiers: Frontiers) -> Table:
    """Return one row per model and settings: the clean and the leaky protocol, among 99 sampled negatives."""
    (table,) = frontiers.values()
    lines = [["by last-item, of 100", "clean", "leaky"]]
    table = table[table["split"] == "last-item"]
    for (model, variant), rows in table.groupby(["model", "variant"], sort=False, dropna=False):
        name = f"`{model}`" + (f", {variant}" if isinstance(variant, str) else "")
        lines.append(
            [name, *(mean(rows[rows["negative_sampling"] == one], "sampled_") for one in ("clean", "leaky"))]
        )
    return noted(lines, [table])


def noted(lines: list[list[str]], tables: Iterable[pd.DataFrame]) -> Table:
    """Return a table with notes that explain its splits and, if it has any, its marks."""
    marked = any(cell.endswith(BELOW) for line in lines for cell in line)
    return Table(lines, [*([BELOW_MEANS] if marked else []), *sentences(tables)])


KINDS: dict[str, Callable[[Frontiers], Table]] = {
    "promises": promises,
    "costs": costs,
    "published": published,
    "protocols": protocols,
}


def markdown(table: Table) -> str:
    """Return a table and its notes as Markdown."""
    head, *rows = (f"| {' | '.join(cells)} |" for cells in table.lines)
    text = "\n".join([head, "|" + " --- |" * len(table.lines[0]), *rows]) + "\n"
    return text + "".join(f"\n{note}\n" for note in table.notes)


def with_new_tables(text: str, folder: Path) -> str:
    """Return the text with its tables made again."""

    def block(match: re.Match[str]) -> str:
        start, kind, names, end = match.groups()
        paths = {name: folder / name / "frontier.csv" for name in names.split()}
        tables = {name: pd.read_csv(path) for name, path in paths.items() if path.exists()}
        if len(tables) < len(paths):
            print(
                f"{kind}: kept, because {', '.join(paths.keys() - tables.keys())} was not run",
                file=sys.stderr,
            )
            return match.group()
        older = [name for name, table in tables.items() if "split_sentence" not in table]
        if older:
            print(
                f"{kind}: kept, because {', '.join(older)} was run before splits had names", file=sys.stderr
            )
            return match.group()
        return start + markdown(KINDS[kind](tables)) + end

    return BLOCK.sub(block, text)


def main(files: Sequence[Path], folder: Path) -> None:
    """Rewrite the tables in the files. folder: the folder of all frontiers."""
    for file in files:
        file.write_text(with_new_tables(file.read_text(encoding="utf-8"), folder), encoding="utf-8")


if __name__ == "__main__":
    *files, folder = map(Path, sys.argv[1:])
    main(files, folder)
