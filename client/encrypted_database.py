"""An SQLite file, encrypted with SQLCipher, in which an edit, an older page or an older file shows.

SQLCipher encrypts each page with AES-256 and authenticates it, so an edit without the key is an error. An
older page, or the whole file as it was, is authentic too. So each transaction writes a row `head`: its
number, the head of the transaction before it, and a digest of every table. The hash of that row is the
transaction's own head, and the newest one is kept with the key (`store_key.py`), outside of the file.

The two places cannot change in one step. So the new head is noted with the key before the commit, and takes
the place of the old one after it. A process killed in between leaves one of two known heads. Nothing that
rests on a transaction happens before its head has taken its place.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from terrycloth.client.store_errors import RESTORE, DamagedStore, explained, sqlite
from terrycloth.client.store_key import INSTALL, Anchor, KeyHolder
from terrycloth.models.durable import locked, owner_only, synchronise
from terrycloth.models.errors import UserError

WAIT = 10.0  # seconds for which a process waits for another one that writes
SALT_BYTES = 16  # at the beginning of the file, where SQLCipher has it
HEAD = "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER, earlier TEXT, digests TEXT)"


@dataclass(frozen=True)
class Head:
    """What the newest transaction says of itself. digests: of each table, and of the schema."""

    number: int
    earlier: str
    digests: dict[str, str]

    @property
    def value(self) -> str:
        """The hash by which the transaction is known outside of the file, and to the next one."""
        return _sha256(repr((self.number, self.earlier, sorted(self.digests.items()))))


@dataclass(frozen=True)
class Transaction:
    """An open connection, and the number that its transaction has, or will have when it is committed."""

    connection: Any
    number: int


class EncryptedDatabase:
    """The file at `path`, whose key and newest head `keys` holds.

    migrations: SQL scripts; script i makes version i + 1 of the schema from version i. Each use opens the
    file and closes it, under a lock, so processes take turns. All methods raise UserError, in one line, and
    leave the file as it was; DamagedStore if the file is not the one that was last written.
    """

    def __init__(self, path: Path, keys: KeyHolder, migrations: Sequence[str]) -> None:
        self.path = path
        self.keys = keys
        self.migrations = migrations

    @staticmethod
    def new_salt() -> str:
        """Return a fresh salt for `create`, in hexadecimal."""
        return secrets.token_hex(SALT_BYTES)

    @staticmethod
    def salt_of(path: Path) -> str:
        """Return the salt of a file, in hexadecimal: its public name. Raises DamagedStore if it has none."""
        try:
            with path.open("rb") as file:
                salt = file.read(SALT_BYTES)
        except OSError:
            salt = b""
        if len(salt) < SALT_BYTES:
            raise DamagedStore(f"{path} is missing, empty or cannot be read: {RESTORE}")
        return salt.hex()

    @owner_only()
    def create(self, salt: str) -> None:
        """Write a new, empty file with this salt, and its key. Raises UserError if the file exists."""
        if sqlite is None:
            raise UserError(f"the package sqlcipher3 is missing: {INSTALL}")
        if self.path.exists():
            raise UserError(f"{self.path} exists: a store is made once")
        anchor = Anchor.new()
        self.keys.write(anchor)
        try:
            with explained(self.path):
                self.path.touch(mode=0o600)
                with self._locked(), self._connected(anchor.key + salt) as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute(HEAD)
                    connection.execute("INSERT INTO head VALUES (1, 0, '', '{}')")
                    self._migrate(connection)
                    self._commit(connection, anchor, Head(0, "", {}), self._tables(connection))
            synchronise(self.path.parent)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the file, and forget its key. Nothing can read what is left of it on the disk."""
        with suppress(UserError):
            self.keys.delete()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.with_suffix(".lock").unlink(missing_ok=True)

    @contextmanager
    def reading(self, *tables: str) -> Iterator[Transaction]:
        """Open the file for the block, with these tables checked against the head."""
        with self._opened(tables) as (connection, _, head):
            yield Transaction(connection, head.number)

    @contextmanager
    def writing(self, *tables: str) -> Iterator[Transaction]:
        """Open the file to change these tables, as one transaction, on disk when the block ends.

        An exception in the block undoes all of it. Deleted content is overwritten in the file before this
        returns, unless another program holds the file open.
        """
        with self._opened(tables) as (connection, anchor, head):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection, head.number + 1)
                self._commit(connection, anchor, head, tables)
            except BaseException:
                with suppress(sqlite.Error):
                    connection.execute("ROLLBACK")
                raise

    def empty_log(self) -> None:
        """Make sure that nothing which was deleted is left in the log. Raises UserError if something is."""
        with self._opened(()) as (connection, _, _):
            emptied = self._empty(connection)
        if not emptied:
            raise UserError(
                f"what was deleted is still on the disk, because another program is reading {self.path} or no"
                " space is left: close that program or free some space, and repeat"
            )

    @staticmethod
    def _empty(connection: Any) -> bool:
        """Move the log into the file; returns whether all of it was moved. What was committed stays so."""
        try:
            connection.execute("PRAGMA busy_timeout = 0")  # another program that reads holds nobody up
            (held, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite.Error:
            return False
        return not held

    @contextmanager
    def _opened(self, tables: Sequence[str]) -> Iterator[tuple[Any, Anchor, Head]]:
        """Lock, open, check and bring up to date the file; check these tables."""
        if sqlite is None:
            raise UserError(f"the package sqlcipher3 is missing: {INSTALL}")
        with explained(self.path), self._locked():
            anchor = self.keys.read()
            self.salt_of(self.path)  # SQLite would take an empty file for a new one
            with self._connected(anchor.key) as connection:
                connection.execute("BEGIN IMMEDIATE")
                anchor, head = self._checked(connection, anchor, tables)
                if self._version(connection) < len(self.migrations):
                    everything = self._tables(connection)
                    self._checked(connection, anchor, everything)
                    self._migrate(connection)
                    anchor, head = self._commit(connection, anchor, head, self._tables(connection))
                else:
                    connection.execute("COMMIT")
                yield connection, anchor, head

    def _checked(self, connection: Any, anchor: Anchor, tables: Sequence[str]) -> tuple[Anchor, Head]:
        """Return the head, and the anchor that knows it. Raises DamagedStore if it is another head."""
        number, earlier, digests = connection.execute("SELECT number, earlier, digests FROM head").fetchone()
        head = Head(number, earlier, json.loads(digests))
        if head.value not in (anchor.head, anchor.following):
            older = head.number < anchor.counter
            found = f"is older than what was last written ({head.number} < {anchor.counter})"
            raise DamagedStore(f"{self.path} {found if older else 'was changed'}: {RESTORE}")
        if self._version(connection) > len(self.migrations):
            raise UserError(f"{self.path} was written by a newer version of terrycloth: install that version")
        for table in ("schema", *tables):
            if head.digests.get(table) != digest_of(connection, table):
                raise DamagedStore(f"{self.path} holds an older or changed page: {RESTORE}")
        if anchor.following:
            anchor = anchor.after(head.number, head.value)
            self.keys.write(anchor)
        return anchor, head

    def _commit(
        self, connection: Any, anchor: Anchor, head: Head, tables: Sequence[str]
    ) -> tuple[Anchor, Head]:
        """Write the head of this transaction, which changed these tables, and commit it."""
        changed = {table: digest_of(connection, table) for table in ("schema", *tables)}
        after = Head(head.number + 1, head.value, head.digests | changed)
        connection.execute(
            "UPDATE head SET number = ?, earlier = ?, digests = ?",
            (after.number, after.earlier, json.dumps(after.digests)),
        )
        with _adding("nothing was changed"):
            self.keys.write(anchor.before(after.value))
        connection.execute("COMMIT")
        anchor = anchor.after(after.number, after.value)
        with _adding("the change itself is in the store: do not repeat it"):
            self.keys.write(anchor)
        self._empty(connection)  # else the log keeps pages as they were before something was deleted
        return anchor, after

    def _migrate(self, connection: Any) -> None:
        """Bring the schema to the newest version, within the open transaction."""
        for script in self.migrations[self._version(connection) :]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(self.migrations)}")

    @staticmethod
    def _version(connection: Any) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @staticmethod
    def _tables(connection: Any) -> list[str]:
        """The names of all tables that the head speaks of."""
        named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return [name for (name,) in connection.execute(named) if name != "head"]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with locked(self.path.with_suffix(".lock"), wait=WAIT):
                yield
        except BlockingIOError:
            raise UserError(
                f"another process is using {self.path}: repeat when it is done; nothing was changed"
            ) from None

    @contextmanager
    def _connected(self, key: str) -> Iterator[Any]:
        """Connect to the file, which must exist. key: the key, or the key and the salt of a new file."""
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite.connect(uri, uri=True, isolation_level=None, timeout=WAIT)
        try:
            connection.execute("PRAGMA cipher_log_level = NONE")  # else SQLCipher writes to stderr
            connection.execute(f"PRAGMA key = \"x'{key}'\"")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            yield connection
        finally:
            connection.close()


@contextmanager
def _adding(outcome: str) -> Iterator[None]:
    """Add to a UserError what it means for the transaction."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {outcome}") from None


def digest_of(connection: Any, table: str) -> str:
    """Return the SHA-256 of a table's rows; or, for `schema`, of the statements that make the tables."""
    if table == "schema":
        version = connection.execute("PRAGMA user_version").fetchone()
        rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name")
        return _sha256(repr((version, rows.fetchall())))
    hashed = hashlib.sha256()
    for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1"):
        for value in row:
            content = value if isinstance(value, bytes) else repr(value).encode()
            hashed.update(f"{type(value).__name__} {len(content)} ".encode() + content)
    return hashed.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
