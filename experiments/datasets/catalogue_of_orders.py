"""The catalogue of a shop that gives none: the items and titles that its order lines name."""

import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_text
from terrycloth.experiments.datasets.column_choice import OrderColumns
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.datasets.headers import find_column, names_of, simplify, why_private
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.tables import TableFile, read_columns
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError


def catalogue_of_orders(
    rows: pd.DataFrame, table: TableFile, columns: OrderColumns, options: DataOptions, report: ImportReport
) -> Catalogue:
    """Return the items of the kept rows, sorted by id, each with the title that most of its lines give it.

    rows: the kept rows; their index is the place in the file. The catalogue has no attributes, but a model
    can use the words of its titles. Raises UserError if the named title column is missing or private.
    """
    place = title_column(table, columns, options)
    ids = rows["item"].astype(str)
    titles = ids
    if place is not None:
        cells, _ = read_columns(table, [place])
        given = as_text(cells[0].loc[rows.index]).set_axis(rows.index)
        titles = titles_of(ids, given)
        report.columns_used["title"] = table.columns[place]
        report.columns_kept.append(table.columns[place])
        if table.columns[place] in report.columns_dropped:
            report.columns_dropped.remove(table.columns[place])
    report.notes.append(
        "no catalogue was given: it is derived from the order lines and treated as public"
        + ("" if place is not None else ", and the item ids are shown as titles")
    )
    frame = pd.DataFrame({ITEM: ids, TITLE: titles}).drop_duplicates(ITEM)
    return Catalogue(frame.sort_values(ITEM, ignore_index=True))


def title_column(table: TableFile, columns: OrderColumns, options: DataOptions) -> int | None:
    """Return the position of the column of titles; None if there is none. Raises UserError."""
    if options.title_column:
        names = simplify(options.title_column)
    else:
        # In an order export a plain "name" is a person's or the order's, unless the layout knows better.
        names = " ".join(name for name in names_of("title").split() if name not in ("name", "nom"))
    if "packed" in columns.groups:
        return None
    used = columns.positions.values()
    free = ["" if place in used else name for place, name in enumerate(table.columns)]
    place = find_column(free, f"{names} lineitemname" if not options.title_column else names)
    if options.title_column and place is None:
        raise UserError(
            f"{table.path} has no column {options.title_column!r} for --title-column: {table.listed}"
        )
    if place is not None and (reason := why_private(table.columns[place])):
        if options.title_column:
            raise UserError(f"--title-column {options.title_column!r} {reason}: name another column")
        return None
    return place


def titles_of(ids: pd.Series, given: pd.Series) -> pd.Series:
    """Return the title of each row's item: the one that most rows give, the first of equals, else the id."""
    known = pd.DataFrame({"item": ids, "title": given}).dropna()
    counts = known.groupby(["item", "title"]).size().rename("rows").reset_index()
    best = counts.sort_values(["rows", "title"], ascending=[False, True]).drop_duplicates("item")
    return ids.map(best.set_index("item")["title"]).fillna(ids)
