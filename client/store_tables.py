"""The tables of a device's store, the versions of their schema, and how rows are read and written."""

from dataclasses import astuple, fields
from typing import Any

from terrycloth.client.receipts import Consent, Receipt
from terrycloth.client.state import DeviceState

COLUMNS = ", ".join(field.name for field in fields(Receipt))  # of the receipts

# Script i makes version i + 1 of the schema from version i. A script that was released is never changed.
MIGRATIONS = (
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, item TEXT NOT NULL, time INTEGER NOT NULL, weight REAL NOT NULL,
        added INTEGER NOT NULL
    );
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1), booked INTEGER NOT NULL, query TEXT NOT NULL,
        facts TEXT NOT NULL, tensors BLOB NOT NULL
    );
    CREATE TABLE consents (
        id INTEGER PRIMARY KEY, purpose TEXT NOT NULL, version TEXT NOT NULL, given INTEGER NOT NULL,
        withdrawn INTEGER
    );
    CREATE TABLE receipts (
        id INTEGER PRIMARY KEY, time INTEGER NOT NULL, run TEXT NOT NULL, round INTEGER NOT NULL,
        rounds INTEGER NOT NULL, model TEXT NOT NULL, unit TEXT NOT NULL, trust TEXT NOT NULL,
        sent_bytes INTEGER NOT NULL, epsilon REAL NOT NULL, delta REAL NOT NULL, refused TEXT NOT NULL
    );
    """,
    "ALTER TABLE receipts ADD COLUMN task TEXT NOT NULL DEFAULT ''",
)


def begin(connection: Any, state: DeviceState, retention_days: int | None) -> None:
    """Fill the tables of a new store."""
    connection.execute("INSERT INTO state VALUES (1, 0, '', ?, ?)", state.to_parts())
    if retention_days is not None:
        connection.execute("INSERT INTO settings VALUES ('retention_days', ?)", (str(retention_days),))


def read_retention_days(connection: Any) -> int | None:
    """The days after which events are deleted; None: never."""
    row = connection.execute("SELECT value FROM settings WHERE name = 'retention_days'").fetchone()
    return None if row is None else int(row[0])


def read_state(connection: Any) -> DeviceState:
    """The ledger, the vector and the stored answer."""
    return DeviceState.from_parts(*connection.execute("SELECT facts, tensors FROM state").fetchone())


def write_state(connection: Any, state: DeviceState, number: int) -> None:
    """Replace the state. number: of this transaction, in which another query than before is booked."""
    booked = "CASE WHEN query = :query THEN booked ELSE :number END"
    facts, tensors = state.to_parts()
    connection.execute(
        f"UPDATE state SET booked = {booked}, query = :query, facts = :facts, tensors = :tensors",
        {"query": state.query, "number": number, "facts": facts, "tensors": tensors},
    )


def consented(connection: Any, purpose: str) -> bool:
    """Whether there is a consent to a purpose that was not withdrawn."""
    standing = "SELECT count(*) FROM consents WHERE purpose = ? AND withdrawn IS NULL"
    return bool(connection.execute(standing, (purpose,)).fetchone()[0])


def read_consents(connection: Any) -> list[Consent]:
    """All consents, the oldest first."""
    rows = connection.execute("SELECT purpose, version, given, withdrawn FROM consents ORDER BY id")
    return [Consent(*row) for row in rows]


def read_receipts(connection: Any) -> list[Receipt]:
    """All receipts, the oldest first."""
    return [Receipt(*row) for row in connection.execute(f"SELECT {COLUMNS} FROM receipts ORDER BY id")]


def write_receipt(connection: Any, receipt: Receipt) -> None:
    """Append a receipt."""
    marks = ", ".join("?" * len(fields(Receipt)))
    connection.execute(f"INSERT INTO receipts ({COLUMNS}) VALUES ({marks})", astuple(receipt))
