"""A grid of cells, from a TOML file or from flags.

A file holds tables `[[grid]]`. Each key is a setting of `terry simulate`. A list of values is combined with
every other list of its table. `seeds = N` stands for `seed = [0, …, N − 1]`, and ε = inf for no promise:

    [[grid]]
    data = "towels"
    devices = [2000, 20000]
    model = "linear"
    unit = "shopper"
    trust = "central"
    split = ["date", "next-visit"]
    epsilon = [1, 2, 4, 8, inf]
    seeds = 3

If two tables hold the same cell, it runs once.
"""

import tomllib
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

from terrycloth.experiments.frontier.cell import Cell
from terrycloth.experiments.settings.config import literal
from terrycloth.models.errors import UserError

SCHEMA = 2  # 1: before splits had names
DEFAULT_SEEDS = 3
DEFAULT_GRID = Path(__file__).parent / "grids" / "towels.toml"

Table = dict[str, Any]


def read_grid(path: Path) -> list[Table]:
    """Read the tables of a grid file. Raises UserError if it cannot be read or holds no valid table."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name a grid file, or pass flags") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as TOML: {error}") from None
    tables = document.pop("grid", [])
    document.pop("begun_with", None)
    if (schema := document.pop("schema", SCHEMA)) != SCHEMA:
        raise UserError(f"{path} has schema {schema!r}, but this version reads schema {SCHEMA}")
    if document:
        raise UserError(f"{path}: the key {next(iter(document))!r} must not stand outside of [[grid]]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: grid is not a list of tables: write [[grid]] above each table")
    if not tables:
        raise UserError(f"{path} holds no [[grid]] table: there is nothing to run")
    return tables


def table_of_flags(flags: dict[str, str | Path | None]) -> Table:
    """Turn flags into a table: `1,2,inf` is a list of values; a path, a category or a column is one value."""
    return {
        name: value
        if isinstance(value, Path) or name in ("category", "order_column")
        else [literal(part.strip()) if part.strip() != "inf" else float("inf") for part in value.split(",")]
        for name, value in flags.items()
        if value is not None
    }


def override(table: Table, flags: Table) -> Table:
    """Return the table with its keys replaced by flags; `seed` and `seeds` replace each other."""
    seeded = {"seed", "seeds"}
    kept = {name: value for name, value in table.items() if not (name in seeded and seeded & flags.keys())}
    return kept | flags


def expand(tables: list[Table]) -> list[Cell]:
    """Return every cell of the tables, in order and without repeats.

    A cell of several tables is compared with everything that any of them requests. Raises UserError if a
    table is wrong.
    """
    cells: dict[str, Cell] = {}
    for number, table in enumerate(tables, start=1):
        try:
            for cell in crossed(table):
                cells[cell.name] = cell.compared_like(cells.get(cell.name, cell))
        except UserError as error:
            raise UserError(f"grid {number}: {error}" if len(tables) > 1 else str(error)) from None
    return list(cells.values())


def crossed(table: Table) -> list[Cell]:
    """Return the cells of one table. Raises UserError if a key or a value is wrong."""
    table = dict(table)
    if "seeds" in table and "seed" in table:
        raise UserError("seeds = N stands for seed = [0, …, N − 1]: keep only one of them")
    if "seed" not in table:
        table["seed"] = seeds(table.pop("seeds", DEFAULT_SEEDS))
    lists = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
    for name, values in lists.items():
        if not values:
            raise UserError(f"{name} = [] leaves no cell: give it a value, or remove it")
        if None in values:
            raise UserError(f"{name} = null is no value that a grid can hold: remove it")
    dated = {
        name: [value.isoformat() if isinstance(value, date) else value for value in values]
        for name, values in lists.items()
    }
    return [Cell.of(dict(zip(dated, values, strict=True))) for values in product(*dated.values())]


def seeds(number: Any) -> list[int]:
    """Return the seeds 0 … N − 1. Raises UserError if N is not a positive whole number."""
    if isinstance(number, list) and len(number) == 1:
        number = number[0]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"seeds = {number} is not a number of seeds: use 1 or more")
    return list(range(number))
