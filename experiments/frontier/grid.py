"""A grid of cells, from a TOML file or from flags.

A file holds tables `[[grid]]`. A key is a setting of `terry simulate`; a list of values is crossed with every
other list of its table. `seeds = N` stands for `seed = [0, …, N − 1]`, and ε = inf for no promise:

    [[grid]]
    data = "towels"
    devices = [2000, 20000]
    model = "linear"
    unit = "shopper"
    trust = "central"
    split = ["date", "next-visit"]
    epsilon = [1, 2, 4, 8, inf]
    seeds = 3

Two tables may hold the same cell; it is run once.
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
    """The tables of a grid file. Raises UserError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name a grid file, or give flags") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as TOML: {error}") from None
    tables = document.pop("grid", [])
    document.pop("begun_with", None)
    if (schema := document.pop("schema", SCHEMA)) != SCHEMA:
        raise UserError(f"{path} has schema {schema!r}, and this version reads {SCHEMA}")
    if document:
        raise UserError(f"{path}: there is no key {next(iter(document))!r} outside of [[grid]]")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: grid is not a list of tables: write [[grid]] above each")
    if not tables:
        raise UserError(f"{path} holds no [[grid]]: there is nothing to run")
    return tables


def table_of_flags(said: dict[str, str | Path | None]) -> Table:
    """Flags as a table: `1,2,inf` is a list of values; a path, a category or a column is one."""
    return {
        name: value
        if isinstance(value, Path) or name in ("category", "order_column")
        else [literal(part.strip()) if part.strip() != "inf" else float("inf") for part in value.split(",")]
        for name, value in said.items()
        if value is not None
    }


def override(table: Table, flags: Table) -> Table:
    """A table with flags in place of its own keys; seeds and seed stand for each other."""
    seeded = {"seed", "seeds"}
    kept = {name: value for name, value in table.items() if not (name in seeded and seeded & flags.keys())}
    return kept | flags


def expand(tables: list[Table]) -> list[Cell]:
    """Every cell of the tables, in order, each once, compared with all that is wanted. Raises UserError."""
    cells: dict[str, Cell] = {}
    for number, table in enumerate(tables, start=1):
        try:
            for cell in crossed(table):
                cells[cell.name] = cell.compared_like(cells.get(cell.name, cell))
        except UserError as error:
            raise UserError(f"grid {number}: {error}" if len(tables) > 1 else str(error)) from None
    return list(cells.values())


def crossed(table: Table) -> list[Cell]:
    """One table's cells. Raises UserError."""
    table = dict(table)
    if "seeds" in table and "seed" in table:
        raise UserError("seeds = N stands for seed = [0, …, N − 1]: say one of them")
    if "seed" not in table:
        table["seed"] = seeds(table.pop("seeds", DEFAULT_SEEDS))
    lists = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
    for name, values in lists.items():
        if not values:
            raise UserError(f"{name} = [] leaves no cell: give it a value, or leave it out")
        if None in values:
            raise UserError(f"{name} = null is no value that a grid can keep: leave it out")
    dated = {
        name: [value.isoformat() if isinstance(value, date) else value for value in values]
        for name, values in lists.items()
    }
    return [Cell.of(dict(zip(dated, values, strict=True))) for values in product(*dated.values())]


def seeds(number: Any) -> list[int]:
    """0 … N − 1. Raises UserError."""
    if isinstance(number, list) and len(number) == 1:
        number = number[0]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"seeds = {number} is not a number of seeds: say 1 or more")
    return list(range(number))
