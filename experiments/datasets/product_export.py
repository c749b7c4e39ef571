"""Exports of products, in which a product has several rows: its variants, its pictures, and itself.

What is sold is a variant. Title and attributes that a product's own row alone gives are taken over by its
variants, and options become attributes: an option Colour with the value red is the attribute Colour.
"""

import re
from dataclasses import dataclass, field

import pandas as pd

from terrycloth.experiments.datasets.cell_values import as_ids, as_text, as_values
from terrycloth.experiments.datasets.headers import find_column, simplify
from terrycloth.experiments.datasets.shop_formats import ProductLayout
from terrycloth.experiments.datasets.tables import TableFile

PICTURE = "a picture of the product in another row"
PARENT = "a product whose variants have rows of their own"
NO_ITEM = "a variant without an item id, which is sold as its product"
TRANSLATION = "the same product for another shop or language"
NOT_LISTED = "not among the columns that describe products in this layout"
MOST_OPTIONS = 50
NO_OPTION = ("title", "defaulttitle")  # what Shopify writes for a product without options
NAMES_AN_ID = re.compile(r"(product|variation|variant|article)?id$")


@dataclass
class CatalogueCells:
    """The cells of a catalogue, one row per item.

    items: text. titles: text, None if there are none. attributes: the cells of each attribute by its name.
    lists: the attributes of which a cell is a list with commas. declared: the attributes that the layout says
    are ones, even if every item has another value. item_column, title_column: headers. rows_dropped,
    columns_dropped: as in `CatalogueRead`.
    """

    items: pd.Series
    titles: pd.Series | None
    attributes: dict[str, pd.Series]
    item_column: str
    title_column: str | None
    lists: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()
    rows_dropped: dict[str, int] = field(default_factory=dict)
    columns_dropped: dict[str, str] = field(default_factory=dict)


def products(
    cells: pd.DataFrame, table: TableFile, layout: ProductLayout, item_header: str, title: int | None
) -> CatalogueCells:
    """The items of an export of products.

    cells: all its columns, numbered from 0. item_header: the item's column in the orders, which shows which
    of a product's identifiers they use. title: the column with the title, if the user names it.
    """
    columns = table.columns
    by_id = layout.item_id and NAMES_AN_ID.search(simplify(item_header))
    item = find_column(columns, f"{layout.item_id} {layout.item}" if by_id else layout.item)
    assert item is not None, "the layout was recognised by it"
    title = find_column(columns, layout.title) if title is None else title
    items = as_ids(cells[item], columns[item], table)
    product, is_child, is_parent = _families(cells, columns, layout, item)
    used = {item, title}

    def taken_over(position: int) -> pd.Series:
        """A column, in whose blank cells stands what another row of the product says."""
        used.add(position)
        own = as_values(cells[position])
        known = pd.DataFrame({"product": product, "value": own}).dropna().sort_values(["product", "value"])
        return own.fillna(product.map(known.drop_duplicates("product").set_index("product")["value"]))

    options = _options(cells, columns, layout, taken_over, used)
    attributes: dict[str, pd.Series] = {}
    for position, column in enumerate(columns):
        name = layout.attributes.get(simplify(column))
        if name is None and layout.also and (found := re.fullmatch(layout.also, column)):
            name = found[1]
        if name is None and layout.others and position not in used and not _of_family(column, layout):
            name = column
        if name:
            values = taken_over(position)
            attributes[name] = attributes[name].fillna(values) if name in attributes else values
    attributes |= options
    fate = pd.Series("", index=cells.index, dtype=object)
    if translated := [place for place in [find_column(columns, layout.translated)] if place is not None]:
        fate = fate.mask(as_values(cells[translated[0]]).notna().to_numpy(bool), TRANSLATION)
        used |= set(translated)
    without_item = items.isna() & (fate == "")
    orphaned = product[is_child & without_item]  # variants that are sold under their product's id
    has_option = (
        pd.concat([values.notna() for values in options.values()], axis=1).any(axis=1) if options else False
    )
    fate = fate.mask(without_item & ~(is_child | has_option), PICTURE).mask(
        without_item & (is_child | has_option), NO_ITEM
    )
    fate = fate.mask((fate == "") & is_parent & ~product.isin(orphaned), PARENT)
    kept = (fate == "").to_numpy(bool)
    titles = None if title is None else as_text(cells[title]).fillna(taken_over(title))[kept]
    if titles is not None:
        titles = _told_apart(titles, {name: values[kept] for name, values in options.items()})
    unlisted = [column for position, column in enumerate(columns) if column and position not in used]
    return CatalogueCells(
        items[kept],
        titles,
        {name: values[kept] for name, values in attributes.items() if values[kept].notna().any()},
        columns[item],
        None if title is None else columns[title],
        (*layout.lists.split(), *(options if "options" in layout.lists.split() else ())),
        frozenset([*options, *layout.attributes.values()]),
        {str(reason): int(count) for reason, count in fate[fate != ""].value_counts(sort=False).items()},
        {column: NOT_LISTED for column in unlisted if not _of_family(column, layout)},
    )


def _of_family(column: str, layout: ProductLayout) -> bool:
    names = f"{layout.handle} {layout.parent} {layout.key} {layout.item_id} {layout.packed}".split()
    return simplify(column) in names


def _families(
    cells: pd.DataFrame, columns: list[str], layout: ProductLayout, item: int
) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Each row's product, whether it is a variant of another row, and whether it has variants itself."""
    nothing = pd.Series(False, index=cells.index)
    handle, parent, key = (
        find_column(columns, names) for names in (layout.handle, layout.parent, layout.key)
    )
    if handle is not None:
        return as_values(cells[handle]), nothing, nothing
    if parent is None or key is None:
        return pd.Series(range(len(cells)), index=cells.index).astype("string"), nothing, nothing
    keys, named = as_values(cells[key]), as_values(cells[parent])
    items = as_values(cells[item])
    key_of_item = pd.Series(keys.to_numpy(), index=items).loc[lambda column: column.index.notna()]
    key_of_item = key_of_item[~key_of_item.index.duplicated()]
    by_key = named.str.removeprefix("id:")  # WooCommerce writes a SKU, or id:17
    parents = by_key.where(by_key.isin(keys), named.map(key_of_item).astype("string"))
    is_child = (parents.notna() & (parents != keys)).fillna(False).astype(bool)
    product = parents.where(is_child, keys)
    names_itself = (parents == keys).fillna(False).astype(bool)  # Shopware's main variant, which is sold too
    return product, is_child, ~is_child & ~names_itself & keys.isin(parents[is_child])


def _options(
    cells: pd.DataFrame, columns: list[str], layout: ProductLayout, taken_over: object, used: set[int | None]
) -> dict[str, pd.Series]:
    """The values of each option, by its name: Colour → red."""
    pairs: list[tuple[pd.Series, pd.Series]] = []
    if layout.options:
        for number in range(1, MOST_OPTIONS + 1):
            found = [
                find_column(columns, names.format(*[number] * names.count("{}"))) for names in layout.options
            ]
            name, value = found
            if name is None or value is None:
                break
            used |= {name, value}
            # In an export with handles each variant has its own values; elsewhere a blank one means all
            # values.
            values = as_values(cells[value]) if layout.handle else taken_over(value)  # type: ignore[operator]
            pairs.append((taken_over(name), values))  # type: ignore[operator]
    packed = find_column(columns, layout.packed)
    if packed is not None:
        used.add(packed)
        pairs += _unpacked(taken_over(packed))  # type: ignore[operator]
    options: dict[str, pd.Series] = {}
    for names, values in pairs:
        for name in sorted(names.dropna().unique()):
            if simplify(name) in NO_OPTION:
                continue
            same = next((other for other in options if other.casefold() == name.casefold()), name)
            own = values.where((names == name).fillna(False).astype(bool))
            options[same] = options[same].fillna(own) if same in options else own
    return {name: values for name, values in options.items() if values.notna().any()}


def _unpacked(cells: pd.Series) -> list[tuple[pd.Series, pd.Series]]:
    """The pairs in cells such as color=red,size=M or Farbe:rot|Größe:XL, the first pairs, the second …"""
    found = cells.map(
        lambda cell: re.findall(r"([^=:,|;]+)[=:]([^=:,;]+?)(?=[,|;][^=:,|;]+[=:]|$)", cell),
        na_action="ignore",
    )
    longest = max((len(pairs) for pairs in found.dropna()), default=0)

    def nth(number: int, side: int) -> pd.Series:
        def part(pairs: list[tuple[str, str]]) -> str | None:
            return pairs[number][side].strip() if number < len(pairs) else None

        return found.map(part, na_action="ignore").astype("string")

    return [(nth(number, 0), nth(number, 1)) for number in range(longest)]


def _told_apart(titles: pd.Series, options: dict[str, pd.Series]) -> pd.Series:
    """Titles with the options behind them where several items share one: Bath towel (red, M)."""
    if not options:
        return titles
    behind = pd.DataFrame(options).apply(lambda row: ", ".join(str(value) for value in row.dropna()), axis=1)
    shared = titles.duplicated(keep=False) & (behind != "")
    return titles.where(~shared, titles + " (" + behind.astype("string") + ")")
