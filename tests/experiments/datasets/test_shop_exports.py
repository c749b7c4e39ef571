"""Export layouts of real shop systems, written from their published column lists, are read to the row.

Each file holds what makes its layout hard: order fields given once, e-mail addresses as shoppers, postage
lines, refunds, guests, variants and rows for pictures.
"""

# ruff: noqa: E501 (the lines of tables are as long as they are)

import re
from pathlib import Path

import pytest

from terrycloth.experiments.datasets.import_report import ImportReport
from terrycloth.models.errors import UserError
from tests.experiments.datasets.shop import catalogue, import_files, purchases, table

PLAIN_ITEMS = "sku,title,colour\nT-1,Bath towel,red\nT-2,Bath towel,blue\nT-3,Face cloth,\n"

# --- Shopify ----------------------------------------------------------------------------------------------

SHOPIFY_ORDERS = """\
Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,Currency,Subtotal,Shipping,Taxes,Total,\
Discount Code,Discount Amount,Shipping Method,Created at,Lineitem quantity,Lineitem name,Lineitem price,\
Lineitem compare at price,Lineitem sku,Lineitem requires shipping,Lineitem taxable,Lineitem fulfillment status,Billing Name,\
Billing Street,Billing City,Billing Zip,Billing Country,Notes,Cancelled at,Payment Method,Refunded Amount,Vendor,Id,Phone
#1003,bob@x.org,paid,2024-05-03 09:00:00 +0200,,,no,EUR,10,0,0,10,,0,,2024-05-03 09:00:00 +0200,1,Bath towel - red / M,10,,\
T-1,true,true,pending,Bob B,Way 1,Bonn,53111,DE,"Ring
twice",,,0,Terry,53,
#1002,ann@x.org,paid,2024-05-02 09:00:00 +0200,,,no,EUR,30,0,0,30,,0,,2024-05-02 09:00:00 +0200,2,Bath towel - red / M,10,,\
T-1,true,true,pending,Ann A,Road 2,Bonn,53111,DE,,,,0,Terry,52,
#1002,ann@x.org,,,,,,,,,,,,,,,1,Face cloth,10,,T-3,true,true,pending,,,,,,,,,,Terry,,
#1002,,,,,,,,,,,,,,,2024-05-02 09:00:00 +0200,3,Bath towel - blue / M,10,,T-2,true,true,pending,,,,,,,,,,Terry,,
#1001,bob@x.org,refunded,2024-05-01 09:00:00 +0200,,,no,EUR,10,0,0,10,,0,,2024-05-01 09:00:00 +0200,1,Face cloth,10,,T-3,true,\
true,pending,Bob B,Way 1,Bonn,53111,DE,,,,10,Terry,51,
#1001,,,,,,,,,,,,,,,,1,Bath towel - red / M,10,,T-1,true,true,pending,,,,,,,,,,Terry,,
#1000,eve@x.org,voided,,,,no,EUR,10,0,0,10,,0,,2024-04-30 09:00:00 +0200,1,Face cloth,10,,T-3,true,true,pending,Eve,W,B,5,DE,\
,2024-05-01 10:00:00 +0200,,0,Terry,50,
"""
SHOPIFY_PRODUCTS = """\
Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,Option2 Value,\
Variant SKU,Variant Grams,Variant Inventory Qty,Variant Price,Variant Barcode,Image Src,Image Position,Status
bath-towel,Bath towel,<p>Soft</p>,Terry,Towels,Towel,"cotton, bath",true,Colour,red,Size,M,T-1,400,5,10.00,,https://x/1,1,active
bath-towel,,,,,,,,,blue,,M,T-2,400,5,10.00,,https://x/2,2,active
bath-towel,,,,,,,,,,,,,,,,,https://x/3,3,
face-cloth,Face cloth,<p>Small</p>,Terry,Towels,Cloth,cotton,true,Title,Default Title,,,T-3,50,5,4.00,,https://x/4,1,active
"""


def test_orders_and_products_of_shopify(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, SHOPIFY_ORDERS, SHOPIFY_PRODUCTS)
    assert purchases(dataset) == [
        (0, "T-1", "2024-05-02T07:00", 2),
        (0, "T-2", "2024-05-02T07:00", 3),
        (0, "T-3", "2024-05-02T07:00", 1),
        (1, "T-1", "2024-05-03T07:00", 1),
    ]
    report = dataset.report
    assert report.layout == "Shopify's export of orders"
    assert (report.rows_read, report.rows_kept) == (7, 4)
    assert report.rows_dropped == {"a refunded order": 2, "a cancelled order": 1}
    assert report.rows_dropped_where["a refunded order"] == "lines 7, 8"  # the note contains a line break
    assert {part: report.columns_used[part] for part in ("shopper", "item", "time", "weight", "order")} == {
        "shopper": "Email", "item": "Lineitem sku", "time": "Created at", "weight": "Lineitem quantity",
        "order": "Name",
    }  # fmt: skip
    assert set(report.columns_never_read) >= {"Billing Name", "Billing Street", "Phone"}
    assert "ann@x.org" not in repr(dataset)
    assert catalogue(dataset) == [
        ["T-1", "Bath towel (red, M)", ("Terry",), ("Towels",), ("Towel",), ("cotton", "bath"), ("10.00",), ("red",), ("M",)],
        ["T-2", "Bath towel (blue, M)", ("Terry",), ("Towels",), ("Towel",), ("cotton", "bath"), ("10.00",), ("blue",), ("M",)],
        ["T-3", "Face cloth", ("Terry",), ("Towels",), ("Cloth",), ("cotton",), ("4.00",), (), ()],
    ]  # fmt: skip
    assert dataset.catalogue.attributes == ["vendor", "category", "type", "tags", "price", "Colour", "Size"]
    assert report.catalogue is not None
    assert report.catalogue.rows_dropped == {"a picture of the product in another row": 1}


def test_a_variant_without_a_sku_is_reported_and_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    items = SHOPIFY_PRODUCTS.replace("Default Title,,,T-3", "Default Title,,,")
    report = import_files(tmp_path, SHOPIFY_ORDERS, items, unknown_items="drop").report
    assert report.catalogue is not None
    assert report.catalogue.rows_dropped == {
        "a picture of the product in another row": 1,
        "a variant without an item id, which is sold as its product": 1,
    }
    with pytest.raises(UserError, match="holds no items in column 'Variant SKU': fill it in"):
        import_files(tmp_path, SHOPIFY_ORDERS, re.sub(r"T-\d", "", SHOPIFY_PRODUCTS))


MATRIXIFY = """
ID | Name  | Command | Created At                | Cancelled At | Payment: Status | Customer: ID | Customer: Email | Line: Type    | Line: SKU | Line: Quantity
51 | #1001 | UPDATE  | 2024-05-01 09:00:00 +0200 |              | paid            | 700          | ann@x.org       | Line Item     | T-1       | 2
51 | #1001 | UPDATE  |                           |              |                 |              |                 | Line Item     | T-2       | 1
51 | #1001 | UPDATE  |                           |              |                 |              |                 | Shipping Line |           | 1
51 | #1001 | UPDATE  |                           |              |                 |              |                 | Refund Line   | T-1       | -1
51 | #1001 | UPDATE  |                           |              |                 |              |                 | Refund Line   | T-2       | -1
52 | #1002 | UPDATE  | 2024-05-02 09:00:00 +0200 |              | paid            | 701          | bob@x.org       | Line Item     | T-3       | 1
"""


def test_orders_of_shopify_by_matrixify(tmp_path: Path) -> None:
    """One of two T-1 was returned, and the only T-2 of the other order."""
    dataset = import_files(tmp_path, table(MATRIXIFY), PLAIN_ITEMS)
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T07:00", 1), (1, "T-3", "2024-05-02T07:00", 1)]
    assert dataset.report.rows_dropped == {
        "not an item (postage, a discount or the like)": 1,
        "a return (a quantity below 0)": 2,
        "a purchase that was returned in full": 1,
    }
    assert dataset.report.columns_used["shopper"] == "Customer: ID"


SALES_REPORT = """
Day        | Order name | Sale line type | Product title | Variant SKU | Customer ID | Net quantity
2024-05-01 | #1001      | product        | Bath towel    | T-1         | 700         | 2
2024-05-01 | #1001      | shipping       |               |             | 700         | 0
2024-05-03 | #1001      | product        | Bath towel    | T-1         | 700         | -1
2024-05-02 | #1002      | product        | Face cloth    | T-3         | 701         | 1
"""


def test_sales_report_of_shopify(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, table(SALES_REPORT), PLAIN_ITEMS, format="shopify")
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T00:00", 1), (1, "T-3", "2024-05-02T00:00", 1)]
    assert dataset.report.rows_dropped == {
        "not an item (postage, a discount or the like)": 1,
        "a return (a quantity below 0)": 1,
    }


# --- WooCommerce ------------------------------------------------------------------------------------------

ADVANCED_ORDER_EXPORT = """
Order Number | Order Status | Order Date       | First Name (Billing) | Email (Billing) | SKU | Item # | Item Name  | Quantity (- Refund) | Item Cost
101          | Completed    | 2024-05-01 09:00 | Ann                  | ann@x.org       | T-1 | 1      | Bath towel | 2                   | 10
             |              |                  |                      |                 | T-3 | 2      | Face cloth | 1                   | 4
102          | Cancelled    | 2024-05-02 09:00 | Bob                  | bob@x.org       | T-1 | 1      | Bath towel | 1                   | 10
103          | Completed    | 2024-05-03 09:00 | Bob                  | bob@x.org       | T-2 | 1      | Bath towel | 0                   | 10
             |              |                  |                      |                 | T-3 | 2      | Face cloth | 3                   | 4
"""
ADVANCED_GERMAN = """
Bestellnummer;Bestellstatus;Bestelldatum;Vorname (Rechnung);E-Mail (Rechnung);Artikelnummer;Artikel #;Artikelname;Menge (- Erstattung);Preis
101;Abgeschlossen;01.05.2024 09:00;Ann;ann@x.org;T-1;1;Bath towel;2;10,00
101;Abgeschlossen;01.05.2024 09:00;Ann;ann@x.org;T-3;2;Face cloth;1;4,00
102;Storniert;02.05.2024 09:00;Bob;bob@x.org;T-1;1;Bath towel;1;10,00
103;Abgeschlossen;03.05.2024 09:00;Bob;bob@x.org;T-2;1;Bath towel;0;10,00
103;Abgeschlossen;03.05.2024 09:00;Bob;bob@x.org;T-3;2;Face cloth;3;4,00
"""


@pytest.mark.parametrize("orders", [table(ADVANCED_ORDER_EXPORT), ADVANCED_GERMAN.lstrip()])
def test_orders_of_woocommerce_by_advanced_order_export(tmp_path: Path, orders: str) -> None:
    """The order's fields are on its first line only; Item # counts lines and is no item."""
    dataset = import_files(tmp_path, orders, PLAIN_ITEMS)
    assert purchases(dataset) == [
        (0, "T-1", "2024-05-01T09:00", 2),
        (0, "T-3", "2024-05-01T09:00", 1),
        (1, "T-3", "2024-05-03T09:00", 3),
    ]
    assert dataset.report.rows_dropped == {"a cancelled order": 1, "a weight of zero": 1}


ONE_ROW_AN_ITEM = """
order_id | order_number_formatted | order_number | order_date          | status    | customer_id | billing_first_name | billing_email | item_id | item_product_id | item_name  | item_sku | item_quantity | item_total | item_refunded_qty
901      | #101                   | 101          | 2024-05-01 09:00:00 | completed | 7           | Ann                | ann@x.org     | 1       | 11              | Bath towel | T-1      | 3             | 30         | -1
901      | #101                   | 101          | 2024-05-01 09:00:00 | completed | 7           | Ann                | ann@x.org     | 2       | 13              | Face cloth | T-3      | 1             | 4          | 1
902      | #102                   | 102          | 2024-05-02 09:00:00 | completed | 8           | Bob                | bob@x.org     | 3       | 12              | Bath towel | T-2      | 1             | 10         |
903      | #103                   | 103          | 2024-05-03 09:00:00 | wc-failed | 8           | Bob                | bob@x.org     | 4       | 12              | Bath towel | T-2      | 1             | 10         |
"""
WOOCOMMERCE_PRODUCTS = """\
ID,Type,SKU,Name,Published,Is featured?,Visibility in catalog,Short description,Description,Tax status,In stock?,Stock,\
Regular price,Categories,Tags,Images,Parent,Position,Attribute 1 name,Attribute 1 value(s),Attribute 1 visible,Attribute 1 global,\
Attribute 2 name,Attribute 2 value(s)
10,variable,T-0,Bath towel,1,0,visible,,Soft,taxable,1,,,"Towels, Bath",cotton,https://x/1,,0,Colour,"red, blue",1,1,Size,M
11,variation,T-1,Bath towel - red,1,0,visible,,,taxable,1,5,10,,,https://x/2,T-0,1,Colour,red,,1,Size,
12,variation,T-2,Bath towel - blue,1,0,visible,,,taxable,1,5,10,,,https://x/3,id:10,2,Colour,blue,,1,Size,
13,simple,T-3,Face cloth,1,0,visible,,Small,taxable,1,5,4,Towels,cotton,https://x/4,,0,Colour,"white, grey",1,1,,
"""


def test_orders_and_products_of_woocommerce(tmp_path: Path) -> None:
    """item_id numbers the lines of all orders; a variant with a blank attribute has that of its product."""
    dataset = import_files(tmp_path, table(ONE_ROW_AN_ITEM), WOOCOMMERCE_PRODUCTS)
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T09:00", 2), (1, "T-2", "2024-05-02T09:00", 1)]
    assert dataset.report.rows_dropped == {"a cancelled order": 1, "a purchase that was returned in full": 1}
    assert dataset.catalogue.attributes == ["price", "category", "tags", "Colour", "Size"]
    assert catalogue(dataset) == [
        ["T-1", "Bath towel - red", ("10",), ("Towels", "Bath"), ("cotton",), ("red",), ("M",)],
        ["T-2", "Bath towel - blue", ("10",), ("Towels", "Bath"), ("cotton",), ("blue",), ("M",)],
        ["T-3", "Face cloth", ("4",), ("Towels",), ("cotton",), ("white", "grey"), ()],
    ]
    assert dataset.report.catalogue is not None
    assert dataset.report.catalogue.rows_dropped == {"a product whose variants have rows of their own": 1}


GERMAN = {
    "Type": "Typ", "SKU": "Artikelnummer", "Published": "Veröffentlicht", "Visibility in catalog": "Sichtbarkeit im Katalog",
    "Regular price": "Regulärer Preis", "Categories": "Kategorien", "Tags": "Schlagwörter", "Parent": "Übergeordnet",
    "Attribute 1 name": "Attribut 1 Name", "Attribute 1 value(s)": "Attribut 1 Wert(e)",
    "Attribute 2 name": "Attribut 2 Name", "Attribute 2 value(s)": "Attribut 2 Wert(e)",
}  # fmt: skip
FRENCH = {
    "SKU": "UGS", "Name": "Nom", "Published": "Publié", "Visibility in catalog": "Visibilité dans le catalogue",
    "Regular price": "Tarif régulier", "Categories": "Catégories", "Tags": "Étiquettes", "Parent": "Parent",
    "Attribute 1 name": "Nom de l’attribut 1", "Attribute 1 value(s)": "Valeur(s) de l’attribut 1",
    "Attribute 2 name": "Nom de l’attribut 2", "Attribute 2 value(s)": "Valeur(s) de l’attribut 2",
}  # fmt: skip


@pytest.mark.parametrize("headers", [GERMAN, FRENCH])
def test_products_of_woocommerce_with_headers_of_other_languages(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    first, *rows = WOOCOMMERCE_PRODUCTS.splitlines()
    translated = ",".join(headers.get(header, header) for header in first.split(","))
    dataset = import_files(tmp_path, table(ONE_ROW_AN_ITEM), "\n".join([translated, *rows]))
    english = import_files(tmp_path, table(ONE_ROW_AN_ITEM), WOOCOMMERCE_PRODUCTS)
    assert catalogue(dataset) == catalogue(english)
    assert dataset.catalogue.attributes == english.catalogue.attributes


def test_metafields_of_shopify_are_attributes(tmp_path: Path) -> None:
    first, *rows = SHOPIFY_PRODUCTS.splitlines()
    items = [
        f"{first},Material (product.metafields.shopify.fabric)",
        f"{rows[0]},cotton",
        *(f"{row}," for row in rows[1:]),
    ]
    dataset = import_files(tmp_path, SHOPIFY_ORDERS, "\n".join(items))
    assert dataset.catalogue.table["Material"].tolist() == [("cotton",), ("cotton",), ()]


def test_products_of_woocommerce_by_their_ids(tmp_path: Path) -> None:
    orders = table(ONE_ROW_AN_ITEM).replace("item_sku", "item_barcode")
    dataset = import_files(tmp_path, orders, WOOCOMMERCE_PRODUCTS)
    assert [item for _, item, _, _ in purchases(dataset)] == ["11", "12"]


WEBTOFFEE = """\
order_id,order_number,order_date,status,customer_id,billing_email,line_item_1,line_item_2
901,101,2024-05-01 09:00:00,completed,7,ann@x.org,name:Bath towel|product_id:11|sku:T-1|quantity:2|total:20.00,\
name:Face cloth|product_id:13|sku:T-3|quantity:1|total:4.00
902,102,2024-05-02 09:00:00,completed,8,bob@x.org,name:Bath towel|product_id:12|sku:T-2|quantity:1|total:10.00,
"""


def test_orders_of_woocommerce_by_webtoffee_have_a_column_for_each_item(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, WEBTOFFEE, PLAIN_ITEMS, format="woocommerce")
    assert purchases(dataset) == [
        (0, "T-1", "2024-05-01T09:00", 2),
        (0, "T-3", "2024-05-01T09:00", 1),
        (1, "T-2", "2024-05-02T09:00", 1),
    ]
    assert (dataset.report.rows_read, dataset.report.rows_kept) == (3, 3)


# --- Shopware and JTL -------------------------------------------------------------------------------------

SHOPWARE_6 = """
id;order_number;customer_first_name;customer_last_name;customer_email;amount_total;state;line_items;order_date_time
0193a;10001;Ann;A;ann@x.org;34,00;completed;2x T-1|1x T-3;2024-05-01T09:00:00.000+00:00
0193b;10002;Bob;B;bob@x.org;10,00;cancelled;1x T-2;2024-05-02T09:00:00.000+00:00
0193c;10003;Bob;B;bob@x.org;10,00;open;1x T-2;2024-05-03T09:00:00.000+00:00
"""
SHOPWARE_6_PRODUCTS = """
id;parent_id;product_number;active;stock;name;description;price_gross;manufacturer_name;categories;options
a0;;T-0;1;0;Bath towel;Soft;10,00;Terry;Towels;
a1;a0;T-1;1;5;;;;;;Colour:red|Size:M
a2;a0;T-2;1;5;;;;;;Colour:blue|Size:M
a3;;T-3;1;5;Face cloth;Small;4,00;Terry;Towels;
"""


def test_orders_and_products_of_shopware_6(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, SHOPWARE_6.lstrip(), SHOPWARE_6_PRODUCTS.lstrip())
    assert purchases(dataset) == [
        (0, "T-1", "2024-05-01T09:00", 2),
        (0, "T-3", "2024-05-01T09:00", 1),
        (1, "T-2", "2024-05-03T09:00", 1),
    ]
    assert (dataset.report.rows_read, dataset.report.rows_dropped) == (4, {"a cancelled order": 1})
    assert dataset.catalogue.attributes == ["price", "manufacturer", "category", "Colour", "Size"]
    assert catalogue(dataset) == [
        ["T-1", "Bath towel (red, M)", ("10,00",), ("Terry",), ("Towels",), ("red",), ("M",)],
        ["T-2", "Bath towel (blue, M)", ("10,00",), ("Terry",), ("Towels",), ("blue",), ("M",)],
        ["T-3", "Face cloth", ("4,00",), ("Terry",), ("Towels",), (), ()],
    ]


SHOPWARE_5 = """
orderId;number;customerId;email;status;ordertime;articleNumber;articleName;quantity;price;mode
1;20001;7;ann@x.org;2;2024-05-01 09:00:00;T-1;Bath towel;2;10;0
1;20001;7;ann@x.org;2;2024-05-01 09:00:00;RABATT;Voucher;1;-5;2
2;20002;8;bob@x.org;2;2024-05-02 09:00:00;T-3;Face cloth;1;4;0
"""
SHOPWARE_5_ARTICLES = """
ordernumber;mainnumber;name;supplier;price;configuratorOptions
T-1;T-1;Bath towel;Terry;10;Farbe:rot
T-2;T-1;;Terry;10;Farbe:blau
T-3;T-3;Face cloth;Terry;4;
"""


def test_orders_and_products_of_shopware_5(tmp_path: Path) -> None:
    """The main variant is sold too, so it is kept as one of its product's variants."""
    dataset = import_files(tmp_path, SHOPWARE_5.lstrip(), SHOPWARE_5_ARTICLES.lstrip(), format="shopware")
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T09:00", 2), (1, "T-3", "2024-05-02T09:00", 1)]
    assert dataset.report.rows_dropped == {"not an item (postage, a discount or the like)": 1}
    assert catalogue(dataset) == [
        ["T-1", "Bath towel (rot)", ("Terry",), ("10",), ("rot",)],
        ["T-2", "Bath towel (blau)", ("Terry",), ("10",), ("blau",)],
        ["T-3", "Face cloth", ("Terry",), ("4",), ()],
    ]


JTL_ORDERS = """
Auftragsnummer;Auftragsdatum;Kundennummer;Vorname;Nachname;Straße;PLZ;Ort;Positionstyp;Artikelnummer;Artikelname;Menge;VK Brutto;Storniert
AU1;01.05.2024 09:00;K7;Ann;A;Weg 1;53111;Bonn;Artikel;T-1;Badetuch rot;2,00;10,00;Nein
AU1;01.05.2024 09:00;K7;Ann;A;Weg 1;53111;Bonn;Versandposition;;Versand;1,00;4,90;Nein
AU2;02.05.2024 09:00;K8;Bob;B;Weg 2;53111;Bonn;Artikel;T-2;Badetuch blau;1,00;10,00;Ja
AU3;13.05.2024 09:00;K8;Bob;B;Weg 2;53111;Bonn;Artikel;T-3;Seiftuch;12,00;4,00;Nein
AU4;14.05.2024 09:00;K8;Bob;B;Weg 2;53111;Bonn;Artikel;T-3;Seiftuch;-1,00;4,00;Nein
"""
JTL_ARTICLES = """
Interner Schlüssel;Artikelnummer;GTIN;Artikelname;Hersteller;Warengruppe;Brutto-VK;Identifizierungsspalte Vaterartikel;Variationsname 1;Variationswertname 1;Material
1;T-0;;Badetuch;Terry;Tücher;10,00;;;;Baumwolle
2;T-1;4000000000017;;;;;T-0;Farbe;rot;
3;T-2;4000000000024;;;;;T-0;Farbe;blau;
4;T-3;4000000000031;Seiftuch;Terry;Tücher;4,00;;;;Baumwolle
"""


def test_orders_and_products_of_jtl_in_windows_1252(tmp_path: Path) -> None:
    files = [text.lstrip().encode("cp1252") for text in (JTL_ORDERS, JTL_ARTICLES)]
    dataset = import_files(tmp_path, *files)
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T09:00", 2), (1, "T-3", "2024-05-13T09:00", 12)]
    assert dataset.report.layout == "JTL-Ameise's export of orders"
    assert dataset.report.rows_dropped == {
        "not an item (postage, a discount or the like)": 1,
        "a cancelled order": 1,
        "a return (a quantity below 0)": 1,
    }
    assert set(dataset.report.columns_never_read) == {"Vorname", "Nachname", "Straße", "PLZ", "Ort"}
    assert dataset.catalogue.attributes == ["manufacturer", "group", "price", "Material", "Farbe"]
    assert catalogue(dataset) == [
        ["T-1", "Badetuch (rot)", ("Terry",), ("Tücher",), ("10,00",), ("Baumwolle",), ("rot",)],
        ["T-2", "Badetuch (blau)", ("Terry",), ("Tücher",), ("10,00",), ("Baumwolle",), ("blau",)],
        ["T-3", "Seiftuch", ("Terry",), ("Tücher",), ("4,00",), ("Baumwolle",), ()],
    ]


# --- Magento and Amazon -----------------------------------------------------------------------------------

MAGENTO = """
item_id | order_id | increment_id | parent_item_id | created_at          | customer_id | status   | sku | product_type | weight | qty_ordered | qty_refunded | qty_canceled
1       | 1        | 000000101    |                | 2024-05-01 09:00:00 | 7           | complete | T-1 | configurable | 0.4    | 2           | 1            | 0
2       | 1        | 000000101    | 1              | 2024-05-01 09:00:00 | 7           | complete | T-1 | simple       | 0.4    | 2           | 1            | 0
3       | 2        | 000000102    |                | 2024-05-02 09:00:00 | 8           | closed   | T-2 | simple       | 0.4    | 1           | 1            | 0
4       | 3        | 000000103    |                | 2024-05-03 09:00:00 | 8           | complete | T-3 | simple       | 0.1    | 1           | 0            | 0
"""
MAGENTO_PRODUCTS = """\
sku,store_view_code,attribute_set_code,product_type,categories,name,price,visibility,additional_attributes
T-1,,Default,simple,"Default/Towels,Default/Bath",Bath towel,10,Not Visible Individually,"color=Red,size=M"
T-1,de,Default,simple,,Badetuch,,,
T-2,,Default,simple,"Default/Towels,Default/Bath",Bath towel,10,Not Visible Individually,"color=Blue,size=M"
T-3,,Default,simple,Default/Towels,Face cloth,4,"Catalog, Search",
,,,,,,,,
"""


def test_orders_and_products_of_magento(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, table(MAGENTO), MAGENTO_PRODUCTS)
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T09:00", 1), (1, "T-3", "2024-05-03T09:00", 1)]
    assert dataset.report.rows_dropped == {"a part of the product in another row": 1, "a refunded order": 1}
    assert [row[:2] + row[-2:] for row in catalogue(dataset)] == [
        ["T-1", "Bath towel (Red, M)", ("Red",), ("M",)],
        ["T-2", "Bath towel (Blue, M)", ("Blue",), ("M",)],
        ["T-3", "Face cloth", (), ()],
    ]
    assert dataset.report.catalogue is not None
    assert dataset.report.catalogue.rows_dropped == {"the same product for another shop or language": 1}


AMAZON = """
amazon-order-id | purchase-date             | order-status | buyer-email | product-name | sku | item-status | quantity | item-price
303-1           | 2024-05-01T09:00:00+00:00 | Shipped      | a@m.de      | Bath towel   | T-1 | Shipped     | 2        | 20.00
303-2           | 2024-05-02T09:00:00+00:00 | Cancelled    | b@m.de      | Bath towel   | T-2 | Cancelled   | 0        |
303-3           | 2024-05-03T09:00:00+00:00 | Shipped      | b@m.de      | Face cloth   | T-3 | Shipped     | 1        | 4.00
"""
AMAZON_LISTINGS = """
item-name  | item-description | listing-id | seller-sku | price | quantity | asin1
Bath towel | Soft             | L1         | T-1        | 10    | 5        | B01
Bath towel | Soft             | L2         | T-2        | 10    | 5        | B02
Face cloth | Small            | L3         | T-3        | 4     | 5        | B03
"""


def test_orders_and_listings_of_amazon(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, table(AMAZON, "\t"), table(AMAZON_LISTINGS, "\t"), format="amazon")
    assert purchases(dataset) == [(0, "T-1", "2024-05-01T09:00", 2), (1, "T-3", "2024-05-03T09:00", 1)]
    assert dataset.report.rows_dropped == {"a cancelled order": 1}
    assert catalogue(dataset) == [
        ["T-1", "Bath towel", ("10",)],
        ["T-2", "Bath towel", ("10",)],
        ["T-3", "Face cloth", ("4",)],
    ]


# --- The choice of a layout -------------------------------------------------------------------------------


def test_a_file_of_another_system_than_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no export of orders of shopify that is known.*lineitemquantity"):
        import_files(tmp_path, table(MAGENTO), PLAIN_ITEMS, format="shopify")


def test_a_named_column_takes_precedence_over_the_layout(tmp_path: Path) -> None:
    dataset = import_files(tmp_path, SHOPIFY_ORDERS, SHOPIFY_PRODUCTS, shopper_column="Financial Status")
    assert dataset.report.columns_used["shopper"] == "Financial Status"


def test_a_plain_german_catalogue_keeps_all_its_attributes(tmp_path: Path) -> None:
    """It shares two columns with JTL's catalogue, but none that only JTL has."""
    items = "Artikelnummer;Artikelname;Farbe\nT-1;Badetuch;rot\nT-2;Badetuch;rot\n"
    dataset = import_files(tmp_path, "Kundennummer;Artikelnummer\nK1;T-1\n", items)
    assert dataset.catalogue.attributes == ["Farbe"]


def test_the_import_report_is_plain_json(tmp_path: Path) -> None:
    report = import_files(tmp_path, SHOPIFY_ORDERS, SHOPIFY_PRODUCTS).report
    plain = report.to_json()
    assert plain["rows_read"] == plain["rows_kept"] + sum(plain["rows_dropped"].values())
    assert plain["catalogue"]["rows"] == plain["catalogue"]["items"] + sum(
        plain["catalogue"]["rows_dropped"].values()
    )
    assert plain["times"]["first"] == "2024-04-30 07:00"
    assert isinstance(report, ImportReport)
