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
NO_OPTION = ("title",)  # what Shopify writes for a product without options
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


@dataclass
class _Rows:
    """The rows of an export of products.

    product: what each row belongs to. used: the positions of the columns that were looked at.
    """

    cells: pd.DataFrame
    columns: list[str]
    layout: ProductLayout
    product: pd.Series
    used: set[int] = field(default_factory=set)

    def find(self, names: str) -> int | None:
        """The position of the column with the first of these names."""
        position = find_column(self.columns, names)
        self.used |= set() if position is None else {position}
        return position

    def own(self, position: int) -> pd.Series:
        """What a column says of each row itself."""
        self.used.add(position)
        return as_values(self.cells[position])

    def taken_over(self, position: int) -> pd.Series:
        """A column, in whose blank cells stands what another row of the product says."""
        own = self.own(position)
        known = pd.DataFrame({"product": self.product, "value": own}).dropna()
        known = known.sort_values(["product", "value"]).drop_duplicates("product")
        return own.fillna(self.product.map(known.set_index("product")["value"]))


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
    items = as_ids(cells[item], columns[item], table)
    product, is_child, is_parent = _families(cells, columns, layout, item)
    rows = _Rows(cells, columns, layout, product, {item})
    title = rows.find(layout.title) if title is None else title
    options, has_option = _options(rows)
    attributes = _attributes(rows) | options
    fate = pd.Series("", index=cells.index, dtype=object)
    translated = rows.find(layout.translated)
    if translated is not None:
        fate = fate.mask(rows.own(translated).notna().to_numpy(bool), TRANSLATION)
    without_item = items.isna() & (fate == "")
    is_variant = is_child | has_option
    orphaned = product[is_child & without_item]  # variants that are sold under their product's id
    fate = fate.mask(without_item & ~is_variant, PICTURE).mask(without_item & is_variant, NO_ITEM)
    fate = fate.mask((fate == "") & is_parent & ~product.isin(orphaned), PARENT)
    kept = (fate == "").to_numpy(bool)
    titles = None
    if title is not None:
        titles = as_text(cells[title]).fillna(rows.taken_over(title))[kept]
        titles = _told_apart(titles, {name: values[kept] for name, values in options.items()})
    lists = layout.lists.split()
    return CatalogueCells(
        items=items[kept],
        titles=titles,
        attributes={name: each[kept] for name, each in attributes.items() if each[kept].notna().any()},
        item_column=columns[item],
        title_column=None if title is None else columns[title],
        lists=(*lists, *(options if "options" in lists else ())),
        declared=frozenset([*options, *layout.attributes.values()]),
        rows_dropped={str(why): int(n) for why, n in fate[fate != ""].value_counts(sort=False).items()},
        columns_dropped={
            column: NOT_LISTED
            for position, column in enumerate(columns)
            if column and position not in rows.used and not _of_family(column, layout)
        },
    )


def _attributes(rows: _Rows) -> dict[str, pd.Series]:
    """The columns that the layout makes attributes, by the attribute's name."""
    layout = rows.layout
    attributes: dict[str, pd.Series] = {}
    for position, column in enumerate(rows.columns):
        name = layout.attributes.get(simplify(column))
        if name is None and layout.also and (found := re.fullmatch(layout.also, column)):
            name = found[1]
        if name is None and layout.others and position not in rows.used and not _of_family(column, layout):
            name = column
        if name:
            values = rows.taken_over(position)
            attributes[name] = attributes[name].fillna(values) if name in attributes else values
    return attributes


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


def _options(rows: _Rows) -> tuple[dict[str, pd.Series], pd.Series]:
    """The values of each option by its name, as Colour → red; and which rows have a value of their own."""
    pairs: list[tuple[pd.Series, pd.Series]] = []
    has_own = pd.Series(False, index=rows.cells.index)
    for number in range(1, MOST_OPTIONS + 1) if rows.layout.options else ():
        name, value = (rows.find(names.replace("{}", str(number))) for names in rows.layout.options or ())
        if name is None or value is None:
            break
        own = rows.own(value)
        has_own |= own.notna()
        # In an export with handles each variant has its own values; elsewhere a blank one means all values.
        pairs.append((rows.taken_over(name), own if rows.layout.handle else rows.taken_over(value)))
    packed = rows.find(rows.layout.packed)
    if packed is not None:
        pairs += _unpacked(rows.taken_over(packed))
    options: dict[str, pd.Series] = {}
    for names, values in pairs:
        for name in sorted(names.dropna().unique()):
            if simplify(name) in NO_OPTION:
                continue
            same = next((other for other in options if other.casefold() == name.casefold()), name)
            of_option = values.where((names == name).fillna(False).astype(bool))
            options[same] = options[same].fillna(of_option) if same in options else of_option
    return {name: values for name, values in options.items() if values.notna().any()}, has_own


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
