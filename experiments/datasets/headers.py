"""Headers of columns: the names by which a column is found, and the words that mark it as private.

Headers are compared without case, accents, spaces and marks, so that "Customer-ID" is "customerid".
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# The usual names of each part in English, German and French, in groups, best first. For the shopper and the
# item two columns of one group are a tie, which the user decides: ids come before anything that may be a
# person's name, or the number of a line within its order.
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "shopper": (
        "shopperid customerid customernumber customerno customernr customerkey customercode clientid "
        "clientnumber clientkey userid householdid householdkey "
        "buyerid memberid accountid kundennummer kundennr "
        "kundenid kundeid numeroclient nclient idclient codeclient",
        "visitorid sessionid",
        "shopper customer client user household buyer member visitor kunde kundin acheteur",
    ),
    "item": (
        "sku itemid itemsku productid productcode productsku productnumber articleid articlenumber articleno "
        "articlecode articlesku stockcode lineitemsku variantsku variantid artikelnummer artikelnr artikelid "
        "produktnummer produktid reference refproduit referenceproduit idproduit codearticle codeproduit",
        "ean gtin asin",
        "itemnumber itemno itemcode",
        "item product article artikel produkt produit",
    ),
    "time": (
        "timestamp datetime orderdatetime orderdate orderedat purchasedate purchasedat bestelldatum "
        "auftragsdatum kaufdatum datecommande datedecommande dateachat createdat date datum ordertime time "
        "eventtime transactiondate invoicedate rechnungsdatum paidat datefacture",
    ),
    "clock": ("ordertime time transtime transactiontime uhrzeit bestellzeit zeit heure heurecommande",),
    "weight": (
        "quantity qty quantityordered orderedquantity quantityrefund lineitemquantity itemquantity count "
        "units menge anzahl bestellmenge stuckzahl quantite qte rating",
    ),
    "order": (
        "orderid ordernumber orderno ordernr ordernum orderkey orderref orderreference ordercode invoiceid "
        "invoicenumber invoiceno invoicenr receiptid receiptnumber receiptno receiptnr basketid basketnumber "
        "basketno transactionid transactionnumber transactionno transactionnr cartid checkoutid purchaseid "
        "saleid salesid bestellnummer bestellnr bestellid auftragsnummer auftragsnr rechnungsnummer "
        "rechnungsnr belegnummer belegnr bonnummer bonnr kassenbon commandeid idcommande numerocommande "
        "numerodecommande numcommande nocommande ncommande nfacture numerofacture order invoice receipt "
        "basket transaction cart bestellung auftrag rechnung commande facture",
    ),
    "status": (
        "orderstatus financialstatus paymentstatus itemstatus lineitemstatus status orderstate bestellstatus "
        "auftragsstatus zahlungsstatus statut statutcommande etatcommande cancelledat canceledat storniert "
        "stornodatum",
    ),
    "refunded": (
        "refundedquantity quantityrefunded qtyrefunded itemrefundedqty qtycanceled returnedquantity",
    ),
    "title": (
        "title name producttitle productname itemname articlename titel bezeichnung artikelname produktname "
        "artikelbezeichnung designation libelle nom nomproduit nomduproduit description productdescription",
    ),
}

# Headers of columns that are never read: the reason, stems that may be anywhere in the header, and words that
# must stand alone. The first row that matches gives the reason, so "ip address" comes before "address".
PRIVATE_HEADERS = (
    ("looks like a network address", "ipaddress useragent deviceid cookie", "ip ipv4 ipv6 mac"),
    ("looks like an e-mail address", "email courriel", "mail"),
    ("looks like a telephone number", "phone telefon", "tel mobile mobil handy cell fax whatsapp"),
    (
        "looks like a birth date or another personal trait",
        "birth geburt naissance geschlecht",
        "dob born age gender sex alter sexe",
    ),
    ("looks like a payment detail", "creditcard cardnumber kreditkarte", "iban bic cvv card"),
    (
        "looks like an address",
        "address street postcode postalcode zipcode housenumber latitude longitude adresse strasse "
        "hausnummer anschrift postleitzahl codepostal",
        "city town zip postal county lat lon lng plz ort stadt wohnort rue ville",
    ),
    (
        "looks like a person's name",
        "firstname lastname surname forename fullname username nickname vorname nachname prenom kundenname",
        "name initials nom",
    ),
)
# A header that ends in "name" and contains one of these words is not a person's name.
NAMED_THINGS = (
    "product item article sku variant brand category colour color shop store produkt artikel produit marke "
    "option attribute attribut variation"
)


@lru_cache(maxsize=4096)
def simplify(header: str) -> str:
    """A header in lower case without accents, spaces and marks: "Numéro-Client" → "numeroclient"."""
    letters = unicodedata.normalize("NFKD", header.casefold())
    return "".join(character for character in letters if character.isalnum())


def names_of(part: str) -> str:
    """All usual names of a part, best first, separated by spaces."""
    return " ".join(USUAL_NAMES[part])


def find_column(columns: Sequence[str], names: str) -> int | None:
    """The position of the column with the first of these names that occurs; None if none of them does.

    names: simplified names, separated by spaces.
    """
    plain = [simplify(column) for column in columns]
    return next((plain.index(name) for name in names.split() if name in plain), None)


def find_all(columns: Sequence[str], names: str) -> list[int]:
    """The positions of every column with one of these names, in the order of the columns."""
    wanted = set(names.split())
    return [position for position, column in enumerate(columns) if simplify(column) in wanted]


def why_private(header: str) -> str | None:
    """Why a column with this header is never read; None if it may be read."""
    plain = simplify(header)
    words = set(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", header).casefold()))
    thing = any(thing in plain for thing in NAMED_THINGS.split())
    if plain.endswith("name"):
        if thing:
            return None
        words.add("name")
    elif "nom" in words and thing:
        return None
    for reason, stems, alone in PRIVATE_HEADERS:
        if words & set(alone.split()) or any(stem in plain for stem in stems.split()):
            return reason
    return None


def email_column(columns: Sequence[str]) -> str | None:
    """The first header of e-mail addresses, by which shoppers can be told apart; None if there is none."""
    return next((column for column in columns if "e-mail" in (why_private(column) or "")), None)
