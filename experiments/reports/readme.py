"""The tables of accuracy in README and in docs, written anew from the frontiers that `make figures` ran.

    python -m terrycloth.experiments.reports.readme README.md docs/results.md docs/last-item.md FOLDER

FOLDER/NAME is the folder of a frontier. Between the comments `<!-- table: KIND NAME … -->` and `<!-- end -->`
stands the table that KIND makes of them all; where one was not run, what stands there stays.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from terrycloth.experiments.baselines import NOTHING_RELEASED, label_of
from terrycloth.experiments.evaluation.floors import STRONG, best_floor, floors_of
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
    """lines: a header, and rows under it. notes: sentences that belong below."""

    lines: list[list[str]]
    notes: list[str] = field(default_factory=list)


def mean(rows: pd.DataFrame, prefix: str = "") -> str:
    """HR@10 / NDCG@10, the mean over the seeds; nothing where it was not measured."""
    columns = [f"{prefix}hr@10", f"{prefix}ndcg@10"]
    measured = rows[columns].mean() if set(columns) <= set(rows) else pd.Series([float("nan")])
    return (
        " / ".join(f"{value:.3f}".removeprefix("0") for value in measured) if measured.notna().all() else ""
    )


def reached(rows: pd.DataFrame) -> str:
    """The same of the runs themselves, marked where their mean HR@10 is below the best floor."""
    text = mean(rows)
    return f"{text} {BELOW}" if text and is_below(rows) else text


def is_below(rows: pd.DataFrame) -> bool:
    """Whether the mean HR@10 of one point's rows is below the best of its floors."""
    private = bool((rows["unit"] != "none").all())
    floor = best_floor({name: level(rows, name) for name in floors_of(private)}, private)
    return floor is not None and float(rows["hr@10"].mean()) < floor[1]


def level(rows: pd.DataFrame, name: str) -> float | None:
    """A baseline's mean HR@10; None where it was not found."""
    column = f"{name}_hr@10"
    value = float(rows[column].mean()) if column in rows else float("nan")
    return None if value != value else value


def best_strong(rows: pd.DataFrame) -> str:
    """The best baseline of all that pool everybody's data, with its name; nothing where none was found."""
    levels = {name: reach for name in STRONG if (reach := level(rows, name)) is not None}
    best = max(levels, key=lambda name: levels[name], default=None)
    return "" if best is None else f"{label_of(best)} {mean(rows, f'{best}_')}"


def promise_of(row: pd.Series) -> str:
    """Unit, trust and ε, in few words."""
    if row["unit"] == "none":
        return "none"
    masks = " (no secure aggregation)" if row["secure_aggregation_off"] else ""
    return f"{row['unit']}, {row['trust']}{masks}, ε = {row['epsilon']:g}"


def split_of(row: pd.Series) -> str:
    """A split in few words, with its date."""
    parts = [row["split"], *([row["at"]] if isinstance(row["at"], str) else [])]
    return " ".join(parts) + (", repeats counted" if row["repeats"] == "include" else "")


def sentences(tables: Iterable[pd.DataFrame]) -> list[str]:
    """What trains and what tests, each sentence once; where dates differ, they are those in the rows."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for table in tables:
        for _, row in table.drop_duplicates(["split", "at", "repeats"]).iterrows():
            key = (row["split"], row["repeats"])
            sentence = row["split_sentence"]
            general = sentence.replace(row["at"], "the date") if isinstance(row["at"], str) else sentence
            found.setdefault(key, {})[sentence] = general
    ordered = sorted(found, key=lambda key: (SPLITS.index(key[0]), key[1]))
    return [
        text
        for key in ordered
        for text in (found[key] if len(found[key]) == 1 else dict.fromkeys(found[key].values()))
    ]


def by_split(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The finished rows of each split, `date` first."""
    done = table[table["hr@10"].notna()]
    groups = [rows for _, rows in done.groupby(["split", "at", "repeats"], sort=False, dropna=False)]
    return sorted(groups, key=lambda rows: SPLITS.index(rows.iloc[0]["split"]))


def promises(frontiers: Frontiers) -> Table:
    """A row a promise and size, beside the same model trained centrally and the floors; whole catalogue."""
    (table,) = frontiers.values()
    lines = [
        ["promise", "split", "devices", "federated", "the same model, central, not private", "popularity",
         label_of(NOTHING_RELEASED), "ceiling"]
    ]  # fmt: skip
    keys = ["unit", "trust", "epsilon", "devices", "split", "at", "repeats"]
    for _, rows in table[table["hr@10"].notna()].groupby(keys, sort=False, dropna=False):
        first = rows.iloc[0]
        beside = [mean(rows, f"{name}_") for name in ("central", "popularity", NOTHING_RELEASED, "ceiling")]
        said = [promise_of(first), split_of(first), f"{first['devices']:,}"]
        lines.append([*said, reached(rows), *beside])
    return noted(lines, [table])


def costs(frontiers: Frontiers) -> Table:
    """A row a data set and split, `date` first and never `last-item`: what each ε leaves, whole catalogue."""
    lines = [
        ["data", "split", *(label_of(name) for name in FLOORS_SHOWN), "best strong baseline", "no promise",
         *(f"ε = {one:g}" for one in PRIVATE)]
    ]  # fmt: skip
    tables = {name: table[table["split"] != "last-item"] for name, table in frontiers.items()}
    for name, table in tables.items():
        for rows in by_split(table):
            open_, central = rows[rows["unit"] == "none"], rows[rows["trust"] == "central"]
            floors = [mean(rows, f"{floor}_") for floor in FLOORS_SHOWN]
            private = [reached(central[central["epsilon"] == one]) for one in PRIVATE]
            named = [TITLES.get(name, name), split_of(rows.iloc[0])]
            lines.append([*named, *floors, best_strong(rows), reached(open_), *private])
    return noted(lines, tables.values())


def published(frontiers: Frontiers) -> Table:
    """Two rows a data set under `last-item`, which published tables use: whole catalogue, 99 negatives."""
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
            found = [mean(rows, prefix) if prefix else reached(rows) for rows in of_points]
            lines.append(
                [ranking, *(mean(table, f"{one}_{prefix}") for one in ("popularity", "ease", "ials")), *found]
            )
    return noted(lines, tables.values())


def protocols(frontiers: Frontiers) -> Table:
    """A row a model and its settings, the clean protocol beside the leaky one; against 99 negatives."""
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
    """A table with what its marks mean, where it has any, and with what its splits are."""
    marked = any(cell.endswith(BELOW) for line in lines for cell in line)
    return Table(lines, [*([BELOW_MEANS] if marked else []), *sentences(tables)])


KINDS: dict[str, Callable[[Frontiers], Table]] = {
    "promises": promises,
    "costs": costs,
    "published": published,
    "protocols": protocols,
}


def markdown(table: Table) -> str:
    """A header, rows under it, and the notes."""
    head, *rows = (f"| {' | '.join(cells)} |" for cells in table.lines)
    text = "\n".join([head, "|" + " --- |" * len(table.lines[0]), *rows]) + "\n"
    return text + "".join(f"\n{note}\n" for note in table.notes)


def written(text: str, folder: Path) -> str:
    """The text with its tables made anew."""

    def block(found: re.Match[str]) -> str:
        start, kind, names, end = found.groups()
        paths = {name: folder / name / "frontier.csv" for name in names.split()}
        tables = {name: pd.read_csv(path) for name, path in paths.items() if path.exists()}
        if len(tables) < len(paths):
            print(f"{kind}: kept, for {', '.join(paths.keys() - tables.keys())} was not run", file=sys.stderr)
            return found.group()
        older = [name for name, table in tables.items() if "split_sentence" not in table]
        if older:
            print(f"{kind}: kept, for {', '.join(older)} was run before splits had names", file=sys.stderr)
            return found.group()
        return start + markdown(KINDS[kind](tables)) + end

    return BLOCK.sub(block, text)


def main(files: Sequence[Path], folder: Path) -> None:
    """Write the files anew."""
    for file in files:
        file.write_text(written(file.read_text(encoding="utf-8"), folder), encoding="utf-8")


if __name__ == "__main__":
    *files, folder = map(Path, sys.argv[1:])
    main(files, folder)
