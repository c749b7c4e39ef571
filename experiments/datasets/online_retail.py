"""`--data online-retail`: a year of invoices of a British gift and homeware shop (UCI, Online Retail).

D. Chen, S. L. Sain, K. Guo, Data mining for the online retail industry, Journal of Database Marketing 19
(2012), 197–208. The second release (Online Retail II, two years) can be read as well. Each row is one line of
an invoice and becomes one interaction, whose weight is the quantity. Each invoice is a visit. Colour,
material, size and kind are derived from the description with the vocabularies below. No other code depends on
their words.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.catalogue_file import quantile_bins
from terrycloth.experiments.datasets.cell_values import as_ids, as_text, as_values, pseudonyms
from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.headers import find_column
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.numbers import as_numbers, marks_of
from terrycloth.experiments.datasets.orders import lines_of
from terrycloth.experiments.datasets.tables import TableFile, one_type, open_table, read_columns, read_sheets
from terrycloth.experiments.datasets.times import read_times
from terrycloth.experiments.datasets.visits import events_in_visits, order_numbers
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError

# The names of each column in the first release and in the second.
COLUMNS = {
    "invoice": "invoiceno invoice",
    "item": "stockcode",
    "description": "description",
    "weight": "quantity",
    "time": "invoicedate",
    "price": "unitprice price",
    "shopper": "customerid",
}

# A product's code is five digits, then letters for its variant: 85123A. Other codes are postage (POST, DOT),
# bank charges, manual corrections (M), samples, gift vouchers and the like.
PRODUCT_CODE = r"\d{5}[A-Z]*"

# The vocabularies: each value with the words that mean it, as regular expressions of whole words in lower
# case. A plural s is allowed. A description may have several colours and materials, one size and one kind.
COLOURS = {
    "red": "red ruby",
    "pink": "pink fuschia fuchsia",
    "orange": "orange",
    "yellow": "yellow",
    "green": "green mint",
    "turquoise": "turquoise turq aqua",
    "blue": "blue navy",
    "purple": "purple lilac amethyst",
    "brown": "brown",
    "black": "black",
    "grey": "grey gray",
    "white": "white",
    "cream": r"cream(?!\sslice) ivory",  # a cream slice is a cake
    "silver": "silver",
    "gold": "gold golden",
    "clear": "clear",
    "multicoloured": "multicolour multicoloured multicol multi",
}
MATERIALS = {
    "glass": "glass",
    "crystal": "crystal",
    "metal": "metal iron wire copper steel brass aluminium",
    "zinc": "zinc",
    "enamel": "enamel",
    "wood": "wood wooden bamboo",
    "wicker": "wicker rattan raffia",
    "paper": "paper cardboard",
    "ceramic": "ceramic porcelain china terracotta",
    "stone": "slate marble",
    "plastic": "plastic acrylic melamine bakelike",
    "rubber": "rubber",
    "cotton": "cotton canvas",
    "linen": "linen",
    "wool": "wool knitted crochet",
    "felt": "felt feltcraft",
    "fabric": "fabric quilted woven embroidered polyester chenille velvet",
    "lace": "lace",
    "silk": "silk satin organza",
    "leather": "leather suede",
    "feather": "feather",
    "fur": "fur",
}
# The first size that matches counts. The order hardly matters, because few descriptions have two sizes.
SIZES = {
    "mini": "mini miniature tiny",
    "small": "small",
    "medium": "medium",
    "large": "large big",
    "extra large": "jumbo giant",
}
# The first kind that matches counts, so narrow kinds come before wide ones: a pin cushion is not a cushion.
KINDS = {
    "sewing": r"pin\scushion sewing",
    "tea towel": r"tea\stowel",
    "towel": "towel flannel",
    "apron": "apron",
    "oven glove": r"oven\sglove oven\smitt",
    "napkin": r"napkin(?!\s(?:ring|charm|box))",
    "tablecloth": r"tablecloth table\scloth",
    "placemat": "placemat",
    "cushion": r"cushion squarecushion c/cover",
    "throw": "throw quilt blanket",
    "curtain": "curtain",
    "rug": r"rug doormat acapulco\smat",
    "tea cosy": r"tea\scosy egg\scosy",
    "doorstop": "doorstop",
    "hot water bottle": r"hot\swater\sbottle",
    "bunting": "bunting",
    "bag": "bag handbag washbag backpack shopper tote",
    "purse": "purse wallet",
    "card": "card postcard",
    "wrapping": r"wrap ribbon tissue gift\stape",
    "stationery": "notebook sketchbook pencil pen sticker journal album ruler calendar tape stationery",
    "jewellery": "necklace bracelet earring ring brooch bangle pendant necklac necklce charm",
    "hair accessory": "hair hairband hairclip hairslide",
    "candle": "candle candleholder candlestick t-light tlight votive candlepot",
    "incense": "incense",
    "lighting": "lamp lampshade lantern chandelier light",
    "clock": "clock",
    "mirror": "mirror",
    "frame": "frame",
    "sign": "sign plaque",
    "magnet": "magnet",
    "hook": r"hook hanger knob coat\srack",
    "mug": "mug cup beaker teacup",
    "plate": "plate bowl saucer dish cakestand",
    "teapot": "teapot jug pitcher",
    "bottle": "bottle jar",
    "tray": "tray coaster",
    "cutlery": "cutlery spoon fork chopstick",
    "baking": r"cake\scase baking cake\stin cakestand mould measuring cookie",
    "tin": "tin",
    "box": "box boxes basket cabinet drawer chest storage",
    "garden": r"garden\smarker rake plant planter watering parasol bird\shouse birdhouse",
    "umbrella": "umbrella",
    "toy": "toy doll game jigsaw skittle puzzle playhouse soldier",
    "craft kit": "kit",
    "party": "party balloon invite",
    "garland": "garland wreath",
    "decoration": r"decoration bauble ornament hanging heart",
    "art": r"picture wall\sart print canvas",
}
# `--category textiles` keeps these kinds, unless the description names a material that is not a textile.
TEXTILE_KINDS = [
    "tea towel",
    "towel",
    "apron",
    "oven glove",
    "napkin",
    "tablecloth",
    "placemat",
    "cushion",
    "throw",
    "curtain",
    "rug",
    "tea cosy",
    "doorstop",
    "hot water bottle",
    "bunting",
]
NOT_TEXTILE = ("paper", "wood", "metal", "glass", "plastic")
TEXTILES = "textiles"

VOCABULARIES = {"colour": COLOURS, "material": MATERIALS, "size": SIZES, "kind": KINDS}
SEVERAL_VALUES = ("colour", "material")


def load(options: DataOptions) -> Dataset:
    """Read the invoices at `options.path`: a Parquet, CSV or Excel file, or a folder that holds one.

    `options.category` keeps one kind of product, or all home textiles ("textiles"). Devices are numbered in
    the order of their customer ids as text; items are sorted by code. Raises UserError if the category does
    not exist, or the file is missing, unreadable or without usable rows.
    """
    assert options.path is not None
    if options.category not in (None, TEXTILES, *KINDS):
        choices = ", ".join([TEXTILES, *KINDS])
        raise UserError(f"there is no category {options.category!r}: choose one of {choices}")
    path = find_file(options.path)
    report = ImportReport(source=path.name)
    rows = clean(read_invoices(path, report), report)
    titles = rows.groupby("item")["description"].agg(_most_common)
    if options.category is not None:
        wanted = titles.index[in_category(titles, options.category)]
        rows = _keep(rows, rows["item"].isin(wanted), f"not in the category {options.category}", report)
        titles = titles[wanted]
    if rows.empty:
        raise UserError(f"{path} holds no usable row: check that it is UCI's Online Retail")
    report.rows_kept = len(rows)
    catalogue = describe(titles, rows.groupby("item")["price"].median()[titles.index])
    report.notes.append("the catalogue is derived from the order lines and treated as public")
    report.notes += [
        f"{name} is known for {np.mean(catalogue.table[name].str.len() > 0):.1%} of the items"
        for name in catalogue.attributes
    ]
    rows = rows.assign(order=order_numbers(rows.pop("invoice")))
    lines, num_devices = lines_of(rows, titles.index.get_indexer(pd.Index(rows["item"])).astype(np.int64))
    events = events_in_visits(lines, num_devices, catalogue.table[ITEM], options.visit, report)
    return Dataset("online-retail", catalogue, events, report, catalogue_from_events=True)


# --- Reading ----------------------------------------------------------------------------------------------


def find_file(path: Path) -> Path:
    """The file itself, or the only one in the folder; Parquet is preferred to Excel, and Excel to CSV."""
    if path.is_file():
        return path
    for suffix in (".parquet", ".xlsx", ".csv"):
        files = sorted(file for file in path.glob("*") if file.suffix.lower() == suffix)
        if len(files) > 1:
            raise UserError(f"{path} holds {len(files)} {suffix} files: name one of them with --path")
        if files:
            return files[0]
    raise UserError(
        f"{path} holds no .parquet, .xlsx or .csv file: download Online Retail from UCI and unpack it there"
    )


def read_invoices(path: Path, report: ImportReport) -> pd.DataFrame:
    """Read the file into the columns of COLUMNS and `sheet`, one row per line.

    Blank and unreadable cells are missing, and shoppers are hashed.
    """
    if path.suffix.lower() == ".xlsx":
        cells, positions, headers = _read_excel(path)
        table = TableFile(path, headers)
    else:
        table = open_table(path)
        headers = table.columns
        positions = _positions(headers, path)
        cells = read_columns(table, list(positions.values()))[0]
        cells.columns = pd.Index(list(positions))
        cells["sheet"] = 0
    report.rows_read = len(cells)
    report.columns_used = {part: headers[position] for part, position in positions.items()}
    report.columns_kept = list(report.columns_used.values())
    report.columns_dropped = [header for header in headers if header not in report.columns_kept]
    times, report.times, report.problems = read_times(cells["time"], report.columns_used["time"], table)
    marks = marks_of((cells["weight"], cells["price"]), table.decimal_comma)
    report.numbers = marks.sentence()
    return pd.DataFrame(
        {
            "invoice": as_values(cells["invoice"]),
            "item": as_values(cells["item"]).str.upper(),
            "description": as_text(cells["description"]),
            "weight": as_numbers(cells["weight"], marks).astype("float32"),
            "price": as_numbers(cells["price"], marks),
            "time": times,
            "shopper": pseudonyms(as_ids(cells["shopper"], report.columns_used["shopper"], table)),
            "sheet": cells["sheet"],
        }
    )


def _positions(headers: list[str], path: Path) -> dict[str, int]:
    positions = {part: find_column(headers, names) for part, names in COLUMNS.items()}
    missing = [COLUMNS[part].split()[0] for part, position in positions.items() if position is None]
    if missing:
        raise UserError(
            f"{path} lacks the columns {', '.join(missing)}: use UCI's Online Retail, or --data csv"
        )
    return {part: position for part, position in positions.items() if position is not None}


def _read_excel(path: Path) -> tuple[pd.DataFrame, dict[str, int], list[str]]:
    """Read all sheets, one after the other; the second release has two."""
    parts = []
    for number, sheet in enumerate(read_sheets(path)):
        headers = list(sheet.columns)
        positions = _positions(headers, path)
        part = sheet.iloc[:, list(positions.values())].set_axis(list(positions), axis=1)
        parts.append(part.assign(sheet=number))
    return pd.concat(parts, ignore_index=True).apply(one_type), positions, headers


# --- Cleaning ---------------------------------------------------------------------------------------------


def clean(rows: pd.DataFrame, report: ImportReport) -> pd.DataFrame:
    """Keep the purchases of products by known customers; count each other row under one reason."""
    first_sheet = rows.groupby(rows["invoice"].fillna(""))["sheet"].transform("min")
    rules = {
        # The sheets of the second release overlap by nine days.
        "also in an earlier sheet": rows["sheet"] > first_sheet,
        "no customer": rows["shopper"].isna(),
        "cancelled invoice (C…)": rows["invoice"].str.startswith("C").fillna(False),
        "quantity below 1": ~(rows["weight"] >= 1),
        "not a product (postage, charges, corrections)": ~rows["item"]
        .str.fullmatch(PRODUCT_CODE)
        .fillna(False),
        "no description": rows["description"].isna(),
        "no readable time": rows["time"].isna(),
    }
    reason = np.select([rule.to_numpy(bool) for rule in rules.values()], list(rules), default="")
    for name in rules:
        report.drop(name, int((reason == name).sum()))
    kept: pd.DataFrame = rows.loc[reason == ""]
    return kept


def _keep(rows: pd.DataFrame, mask: pd.Series, reason: str, report: ImportReport) -> pd.DataFrame:
    report.drop(reason, int((~mask).sum()))
    kept: pd.DataFrame = rows.loc[mask]
    return kept


# --- Describing -------------------------------------------------------------------------------------------


def _most_common(descriptions: pd.Series) -> str:
    """An item's most frequent description; among equals, the first in the alphabet."""
    return str(descriptions.mode().iloc[0])


def mentions(titles: pd.Series, vocabulary: dict[str, str]) -> pd.DataFrame:
    """Whether each title has a word for each value: bool [titles, values]."""
    lower = titles.str.lower()
    mentioned = {
        value: lower.str.contains(rf"(?<![\w-])(?:{'|'.join(words.split())})(?:s|es)?(?![\w-])")
        for value, words in vocabulary.items()
    }
    return pd.DataFrame(mentioned).astype(bool)


def values_of(mentioned: pd.DataFrame, several: bool) -> list[tuple[str, ...]]:
    """The values that each row mentions, in the vocabulary's order; only the first unless `several`."""
    names = mentioned.columns.to_numpy()
    limit = None if several else 1
    return [tuple(names[row][:limit]) for row in mentioned.to_numpy()]


def in_category(titles: pd.Series, category: str) -> npt.NDArray[Any]:
    """Which titles are of this kind or, for "textiles", are home textiles: bool [titles]."""
    kinds = [kind[0] if kind else "" for kind in values_of(mentions(titles, KINDS), several=False)]
    if category != TEXTILES:
        return np.isin(kinds, [category])
    not_textile = mentions(titles, {name: MATERIALS[name] for name in NOT_TEXTILE}).any(axis=1)
    return np.isin(kinds, TEXTILE_KINDS) & ~not_textile.to_numpy(bool)


def describe(titles: pd.Series, prices: pd.Series) -> Catalogue:
    """Build the catalogue from titles and median prices in pounds, both indexed by item code."""
    table = pd.DataFrame({ITEM: titles.index.astype(str), TITLE: titles.astype(str).to_numpy()})
    for name, vocabulary in VOCABULARIES.items():
        table[name] = values_of(mentions(titles, vocabulary), name in SEVERAL_VALUES)
    table["price band"] = quantile_bins(prices)
    return Catalogue(table)
