"""The layouts of shops' exports: one row for each, with the headers of its columns.

`--format` names a shop system; with `auto` a layout is recognised by headers that only it has. Headers are
written as `headers.simplify` writes them: "Lineitem sku" is lineitemsku. Several names of one column are its
names in English, German and French, or in other versions, best first. The lists follow the systems' published
column lists; a column that an export lacks is looked for under its usual names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from terrycloth.experiments.datasets.headers import simplify
from terrycloth.models.errors import UserError


@dataclass(frozen=True)
class OrderLayout:
    """An export of orders.

    marks: the headers that it is recognised by, all of which are there; "a/b" is either. shopper to order:
    the names of the parts, best first. status, refunded: columns that are all read if they are there; see
    `returns`; refunded_words: values that mean so in this system alone. kind, item_kinds: the column that
    tells items from postage and discounts, and its values that are items. part_of: a column that is filled
    where the row is a part of another row's product. packed: columns of which each cell holds several items;
    see `packed_items`.
    """

    format: str
    name: str
    marks: str
    shopper: str
    item: str
    time: str
    weight: str
    order: str
    status: str = ""
    refunded_words: str = ""
    refunded: str = ""
    kind: str = ""
    item_kinds: str = ""
    part_of: str = ""
    packed: str = ""


ORDER_LAYOUTS = (
    OrderLayout(
        "shopify", "Shopify's export of orders",
        marks="lineitemquantity lineitemname financialstatus",
        shopper="customerid email", item="lineitemsku", time="createdat paidat", weight="lineitemquantity",
        order="name id", status="financialstatus cancelledat",
    ),
    OrderLayout(
        "shopify", "Matrixify's export of Shopify orders",
        marks="linetype linequantity name",
        shopper="customerid customeremail email", item="linesku linevariantid", time="createdat processedat",
        weight="linequantity", order="name id", status="paymentstatus cancelledat",
        kind="linetype", item_kinds="lineitem refundline",
    ),
    OrderLayout(
        "shopify", "Shopify's report of sales",
        marks="ordername variantsku/productvariantsku netquantity/netitemssold",
        shopper="customerid customeremail", item="variantsku productvariantsku", time="hour day date",
        weight="netquantity netitemssold", order="ordername orderid",
        kind="salelinetype linetype", item_kinds="product",
    ),
    OrderLayout(
        "woocommerce", "Advanced Order Export's list of WooCommerce orders",
        marks="quantityrefund/mengeerstattung/quantiteremboursement",
        shopper="customeruserid customerid emailbilling emailrechnung emailfacturation",
        item="sku artikelnummer ugs productid", time="orderdate bestelldatum datedelacommande datecommande",
        weight="quantityrefund mengeerstattung quantiteremboursement",
        order="ordernumber orderid bestellnummer numerodecommande",
        status="orderstatus bestellstatus etatdelacommande statutdelacommande",
    ),
    OrderLayout(
        "woocommerce", "WooCommerce's Customer/Order export, one row an item",
        marks="itemsku/itemproductid itemquantity itemid orderid",
        shopper="customerid billingemail", item="itemsku itemproductid", time="orderdate",
        weight="itemquantity", order="orderid ordernumber", status="status", refunded="itemrefundedqty",
    ),
    OrderLayout(
        "woocommerce", "WooCommerce's Customer/Order export, one row an order",
        marks="lineitems orderid billingemail",
        shopper="customerid billingemail", item="", time="orderdate", weight="", order="orderid ordernumber",
        status="status", packed="lineitems",
    ),
    OrderLayout(
        "woocommerce", "WebToffee's export of WooCommerce orders",
        marks="lineitem1 orderdate",
        shopper="customerid customeruser customeremail billingemail", item="", weight="",
        time="orderdate", order="orderid ordernumber", status="status", packed="lineitem",
    ),
    OrderLayout(
        "shopware", "Shopware 6's export of orders",
        marks="ordernumber lineitems",
        shopper="customernumber customerid ordercustomernumber customeremail ordercustomeremail",
        item="", weight="", time="orderdatetime orderdate createdat", order="ordernumber id",
        status="state orderstate", packed="lineitems",
    ),
    OrderLayout(
        "shopware", "Shopware 6's export of order lines",
        marks="ordernumber productnumber quantity",
        shopper="customernumber ordercustomernumber customerid customeremail ordercustomeremail",
        item="productnumber payloadproductnumber productid", time="orderdatetime orderdate createdat",
        weight="quantity", order="ordernumber orderid", status="state orderstate",
        kind="type", item_kinds="product",
    ),
    OrderLayout(
        "shopware", "Shopware 5's export of orders",
        marks="articlenumber/articleordernumber ordertime mode",
        shopper="customerid customernumber customeremail email", item="articlenumber articleordernumber",
        time="ordertime", weight="quantity", order="ordernumber number orderid", status="status cleared",
        kind="mode", item_kinds="0",
    ),
    OrderLayout(
        "jtl", "JTL-Ameise's export of orders",
        marks="auftragsnummer/bestellnummer/externeauftragsnummer kundennummer artikelnummer/sku",
        shopper="kundennummer kundennr internekundennummer", item="artikelnummer sku",
        time="auftragsdatum erstelldatum erstelltam bestelldatum datum", weight="menge anzahl",
        order="auftragsnummer bestellnummer externeauftragsnummer",
        status="auftragsstatus status storniert stornodatum zahlungsstatus",
        kind="positionstyp", item_kinds="artikel stuckliste",
    ),
    OrderLayout(
        "magento", "Magento's export of order items",
        marks="sku qtyordered",
        shopper="customerid customeremail", item="sku productid", time="createdat orderdate purchasedate",
        weight="qtyordered", order="incrementid orderincrementid orderid ordernumber", status="status state",
        refunded_words="closed", refunded="qtyrefunded qtycanceled", part_of="parentitemid",
    ),
    OrderLayout(
        "amazon", "Amazon's report of orders",
        marks="amazonorderid/orderid sku purchasedate itemprice",
        shopper="buyeremail buyeridentifier", item="sku asin", time="purchasedate",
        weight="quantity quantitypurchased quantityshipped", order="amazonorderid orderid",
        status="orderstatus itemstatus",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class ProductLayout:
    """An export of products.

    item, title: names as in `OrderLayout`. item_id: the item's other identifier, for orders that name it.
    handle: a column whose value the rows of one product share. parent, key: the column in which a variant
    names its product, and the column of the product's own row that it names. options: "option{} name" and
    "option{} value", the columns with the name and the value of an option, {} being its number. packed: a
    column with pairs such as color=red,size=M. attributes: the columns that become attributes, header → name.
    lists: those of which a cell is a list with commas, "options" for all options. others: whether the other
    columns become attributes too, as in a plain table; otherwise they are left out. translated: a column that
    is filled where a row repeats a product for another shop or language. also: a regular expression of
    further headers that become attributes, whose first group is the name.
    """

    format: str
    name: str
    marks: str
    item: str
    title: str
    attributes: dict[str, str]
    item_id: str = ""
    handle: str = ""
    parent: str = ""
    key: str = ""
    options: tuple[str, str] | None = None
    packed: str = ""
    lists: str = ""
    others: bool = False
    translated: str = ""
    also: str = ""


PRODUCT_LAYOUTS = (
    ProductLayout(
        "shopify", "Shopify's export of products",
        marks="handle variantsku option1value",
        item="variantsku", item_id="variantid", title="title", handle="handle",
        options=("option{}name", "option{}value"),
        attributes={"vendor": "vendor", "type": "type", "productcategory": "category", "tags": "tags",
                    "variantprice": "price"},
        lists="tags", also=r"(.+) \(product\.metafields\..+\)",
    ),
    ProductLayout(
        "woocommerce", "WooCommerce's export of products",
        marks="type/typ sku/artikelnummer/ugs "
        "visibilityincatalog/sichtbarkeitimkatalog/visibilitedanslecatalogue",
        item="sku artikelnummer ugs", item_id="id", title="name nom",
        parent="parent ubergeordnet ubergeordnetesprodukt", key="id",
        options=("attribute{}name attribut{}name nomdelattribut{}",
                 "attribute{}values attribut{}werte attribut{}wert valeursdelattribut{}"),
        attributes={"regularprice": "price", "regularerpreis": "price", "tarifregulier": "price",
                    "categories": "category", "kategorien": "category", "tags": "tags",
                    "schlagworter": "tags",
                    "etiquettes": "tags", "brands": "brand"},
        lists="category tags options",
    ),
    ProductLayout(
        "shopware", "Shopware 6's export of products",
        marks="productnumber parentid",
        item="productnumber", item_id="id", title="name", parent="parentid", key="id",
        packed="options properties",
        attributes={"manufacturername": "manufacturer", "pricegross": "price", "categories": "category"},
    ),
    ProductLayout(
        "shopware", "Shopware 5's export of articles",
        marks="ordernumber mainnumber name",
        item="ordernumber", title="name", parent="mainnumber", key="ordernumber",
        packed="configuratoroptions configurators",
        attributes={"supplier": "manufacturer", "suppliername": "manufacturer", "price": "price",
                    "priceek": "price"},
    ),
    ProductLayout(
        "jtl", "JTL-Ameise's export of articles",
        marks="artikelnummer artikelname "
        "identifizierungsspaltevaterartikel/vaterartikel/variationsname1/internerschlussel/interneschlussel/warengruppe",
        item="artikelnummer", item_id="internerschlussel interneschlussel", title="artikelname",
        parent="identifizierungsspaltevaterartikel vaterartikel artikelnummervaterartikel",
        key="artikelnummer",
        options=("variationsname{} variation{}name", "variationswertname{} variationswert{} variation{}wert"),
        attributes={"hersteller": "manufacturer", "warengruppe": "group", "kategorieebene1": "category",
                    "kategorieebene2": "category 2", "bruttovk": "price", "stdvkbrutto": "price",
                    "vkbrutto": "price"},
        others=True,
    ),
    ProductLayout(
        "magento", "Magento's export of products",
        marks="sku attributesetcode producttype",
        item="sku", title="name", packed="additionalattributes", translated="storeviewcode",
        attributes={"price": "price", "categories": "category"}, lists="category",
    ),
    ProductLayout(
        "amazon", "Amazon's report of listings",
        marks="itemname sellersku",
        item="sellersku", item_id="asin1", title="itemname", attributes={"price": "price"},
    ),
)  # fmt: skip


L = TypeVar("L", OrderLayout, ProductLayout)


def order_layout(columns: Sequence[str], wanted: str, path: object) -> OrderLayout | None:
    """The layout of an export of orders; None if `wanted` is auto and none is recognised.

    Raises UserError if the named system has no such layout.
    """
    return _found(ORDER_LAYOUTS, columns, wanted, path)


def product_layout(columns: Sequence[str], wanted: str) -> ProductLayout | None:
    """The layout of an export of products; None if it is a plain table with one row per item."""
    return _found(PRODUCT_LAYOUTS, columns, wanted, None)


def _found(layouts: tuple[L, ...], columns: Sequence[str], wanted: str, path: object) -> L | None:
    plain = {simplify(column) for column in columns}
    of_system = [each for each in layouts if wanted in ("auto", each.format)]
    for layout in of_system:
        if all(plain & set(mark.split("/")) for mark in layout.marks.split()):
            return layout
    if wanted != "auto" and path is not None:
        expected = "; ".join(layout.marks.replace("/", " or ") for layout in of_system)
        raise UserError(
            f"{path} is no export of orders of {wanted} that is known, which has the columns {expected}: "
            "use --format auto, and name the columns"
        )
    return None
