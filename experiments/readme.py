"""README's tables of accuracy, written anew from the frontiers that `make figures` ran.

    python -m experiments.readme README.md FOLDER

FOLDER/NAME is the folder of a frontier. Between the comments `<!-- table: KIND NAME … -->` and `<!-- end -->`
stands the table that KIND makes of them all; where one was not run, what stands there stays.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

BLOCK = re.compile(r"(<!-- table: (\w+) ([\w -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
PRIVATE = (1.0, 2.0, 4.0, 8.0)
TITLES = {
    "movielens": "MovieLens 100K",
    "movielens-1m": "MovieLens 1M",
    "online-retail": "Online Retail",
    "complete-journey": "Complete Journey",
}

Frontiers = dict[str, pd.DataFrame]


def mean(rows: pd.DataFrame, prefix: str = "") -> str:
    """HR@10 / NDCG@10, the mean over the seeds; nothing where it was not measured."""
    measured = rows[[f"{prefix}hr@10", f"{prefix}ndcg@10"]].mean()
    return (
        " / ".join(f"{value:.3f}".removeprefix("0") for value in measured) if measured.notna().all() else ""
    )


def promise_of(row: pd.Series) -> str:
    """Unit, trust and ε, in few words."""
    if row["unit"] == "none":
        return "none"
    masks = " (masks skipped)" if "without secure aggregation" in str(row["promise"]) else ""
    return f"{row['unit']}, {row['trust']}{masks}, ε = {row['epsilon']:g}"


def promises(frontiers: Frontiers) -> list[list[str]]:
    """A row a promise and size, beside the same model trained centrally and popularity; whole catalogue."""
    (table,) = frontiers.values()
    lines = [
        ["promise", "devices", "federated", "the same model, central, not private", "popularity", "ceiling"]
    ]
    keys = ["unit", "trust", "epsilon", "devices"]
    for _, rows in table.groupby(keys, sort=False, dropna=False):
        first = rows.iloc[0]
        accuracy = [mean(rows, prefix) for prefix in ("", "central_", "popularity_", "ceiling_")]
        lines.append([promise_of(first), f"{first['devices']:,}", *accuracy])
    return lines


def costs(frontiers: Frontiers) -> list[list[str]]:
    """Two rows a data set, the whole catalogue and 99 negatives: what each ε leaves, beside the baselines."""
    lines = [["data", "popularity", "EASE", "iALS", "no promise", *(f"ε = {one:g}" for one in PRIVATE[::-1])]]
    for name, table in frontiers.items():
        open_, central = table[table["unit"] == "none"], table[table["trust"] == "central"]
        for prefix, ranking in (("", f"{TITLES[name]}, whole catalogue"), ("sampled_", "of 100")):
            private = [mean(central[central["epsilon"] == one], prefix) for one in PRIVATE[::-1]]
            baselines = [mean(open_, f"{baseline}_{prefix}") for baseline in ("popularity", "ease", "ials")]
            lines.append([ranking, *baselines, mean(open_, prefix), *private])
    return lines


def protocols(frontiers: Frontiers) -> list[list[str]]:
    """A row a model and its settings, the clean protocol beside the leaky one; against 99 negatives."""
    (table,) = frontiers.values()
    lines = [["", "clean", "leaky"]]
    for (model, variant), rows in table.groupby(["model", "variant"], sort=False, dropna=False):
        name = f"`{model}`" + (f", {variant}" if isinstance(variant, str) else "")
        lines.append([name, *(mean(rows[rows["protocol"] == one], "sampled_") for one in ("clean", "leaky"))])
    return lines


KINDS: dict[str, Callable[[Frontiers], list[list[str]]]] = {
    "promises": promises,
    "costs": costs,
    "protocols": protocols,
}


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A header, and rows under it."""
    head, *rows = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([head, "|" + " --- |" * len(lines[0]), *rows]) + "\n"


def written(text: str, folder: Path) -> str:
    """The text with its tables made anew."""

    def block(found: re.Match[str]) -> str:
        start, kind, names, end = found.groups()
        paths = {name: folder / name / "frontier.csv" for name in names.split()}
        tables = {name: pd.read_csv(path) for name, path in paths.items() if path.exists()}
        if len(tables) < len(paths):
            print(f"{kind}: kept, for {', '.join(paths.keys() - tables.keys())} was not run", file=sys.stderr)
            return found.group()
        return start + markdown(KINDS[kind](tables)) + end

    return BLOCK.sub(block, text)


def main(readme: Path, folder: Path) -> None:
    """Write the file anew."""
    readme.write_text(written(readme.read_text(encoding="utf-8"), folder), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
