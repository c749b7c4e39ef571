"""The store of one device: its events, ledger, stored answer, receipts and consents, in one encrypted file.

A device's folder holds

    device.db          the store, see `encrypted_database.py`
    store.key          its key, unless the system's key ring holds it
    *.lock             keep two processes from answering, or from using the store, at once
    catalogue.parquet  the public catalogue
    policy.toml        what the device allows, unless its owner names another file

**A query is charged in one transaction, before an event is read; the answer, the shopper's vector and the
receipt are a second one, before the answer leaves.** A device that was charged and has no answer, because it
was killed, answers as an empty device would.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terrycloth.client.encrypted_database import EncryptedDatabase
from terrycloth.client.events import Events
from terrycloth.client.policy import Policy
from terrycloth.client.receipts import TRAINING, Consent, Receipt
from terrycloth.client.state import CorruptState, DeviceState
from terrycloth.client.storage import Declined, write_seed
from terrycloth.client.store_errors import DamagedStore
from terrycloth.client.store_key import KeyFile, KeyHolder, KeyRing
from terrycloth.client.store_tables import (
    MIGRATIONS,
    begin,
    consented,
    read_consents,
    read_receipts,
    read_retention_days,
    read_state,
    write_receipt,
    write_state,
)
from terrycloth.client.targets import Targets
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.durable import locked, owner_only
from terrycloth.models.errors import UserError
from terrycloth.models.settings import RoundSettings
from terrycloth.models.times import DAY
from terrycloth.models.update import Refusal

STORE_FILE = "device.db"
KEY_FILE = "store.key"
STORE_FILES = (STORE_FILE, KEY_FILE, "device.lock")  # one of them shows that there was a store
ANSWER_WAIT = 60.0  # seconds for which a command waits for an answer that is being computed


class DeviceStore:
    """The store in a device's folder. clock: returns seconds since 1970.

    All methods raise UserError, in one line, if the store cannot be used, and then change nothing;
    DamagedStore if it is not what was last written.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.path = folder / STORE_FILE
        self.clock = clock

    @cached_property
    def database(self) -> EncryptedDatabase:
        """The file. Its key is in store.key if there is such a file, and else in the system's key ring."""
        key_file = KeyFile(self.folder / KEY_FILE)
        keys: KeyHolder = key_file
        if not key_file.path.exists() and not key_file.path.is_symlink():
            keys = KeyRing(EncryptedDatabase.salt_of(self.path))
        return EncryptedDatabase(self.path, keys, MIGRATIONS)

    @property
    def devices(self) -> Any:
        """One device, numbered from 0."""
        return np.arange(1)

    @classmethod
    @owner_only()
    def create(
        cls,
        folder: Path,
        catalogue: Catalogue,
        policy: Policy,
        *,
        key_file: bool = False,
        retention_days: int | None = None,
        seed: int | None = None,
        first: int = 0,
    ) -> "DeviceStore":
        """Make the folder of a device that holds nothing, and gave no consent.

        key_file: keep the key in a file beside the store instead of the system's key ring. retention_days:
        delete events that are older; None: never. seed, first: repeat the draws of device `first` of a run
        with this seed, which is not private. Raises UserError if the folder holds or held a store.
        """
        present = [name for name in STORE_FILES if (folder / name).exists()]
        if present:
            raise UserError(f"{folder} holds {present[0]}: a store is made once; choose another folder")
        made = [] if folder.exists() else [folder]
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        salt = EncryptedDatabase.new_salt()
        keys = KeyFile(folder / KEY_FILE) if key_file else KeyRing(salt)
        database = EncryptedDatabase(folder / STORE_FILE, keys, MIGRATIONS)
        try:
            catalogue.save(folder / "catalogue.parquet")
            policy.save(folder)
            if seed is not None:
                write_seed(folder, seed, first)
            database.create(salt)
            with database.writing("settings", "state") as transaction:
                begin(transaction.connection, DeviceState.new(1, 0), retention_days)
        except BaseException:
            database.remove()
            for path in made:
                shutil.rmtree(path, ignore_errors=True)
            raise
        return cls(folder)

    # What a device group needs, see `Storage`

    @contextmanager
    def answering(self, dim: int = 0) -> Iterator[None]:
        """Keep other processes from answering. They may append events meanwhile."""
        with locked(self.folder / "answering.lock"):
            yield

    def load(self) -> DeviceState:
        """Return the state. Raises CorruptState, with the remedy, or Declined without consent to training."""
        try:
            # Receipts too: what could not be concluded must not be charged.
            with self.database.reading("state", "consents", "receipts") as transaction:
                if not consented(transaction.connection, TRAINING):
                    raise Declined(Refusal.CONSENT)
                return read_state(transaction.connection)
        except DamagedStore as damaged:
            raise CorruptState(str(damaged)) from None

    def save(self, state: DeviceState) -> None:
        """Replace the state. The events that count for a query are those held when it was booked."""
        with self.database.writing("state") as transaction:
            write_state(transaction.connection, state, transaction.number)

    def conclude(self, state: DeviceState, settings: RoundSettings, sent_bytes: int, task: str) -> None:
        """Store the answer, the vector and a receipt. Raises Declined if consent was withdrawn meanwhile."""
        epsilon = state.ledger.epsilon(settings.delta, only_renyi=settings.only_renyi)[0]
        receipt = Receipt(
            time=int(self.clock()),
            task=task,
            run=settings.run,
            round=settings.round,
            rounds=settings.last_round,
            model=settings.model,
            unit=settings.unit,
            trust=settings.trust,
            sent_bytes=sent_bytes if state.took_part.any() else 0,
            epsilon=float(epsilon),
            delta=settings.delta,
            refused=", ".join(state.refused),
        )
        with self.database.writing("state", "receipts", "consents") as transaction:
            connection = transaction.connection
            if not consented(connection, TRAINING):
                raise Declined(Refusal.CONSENT)
            write_state(connection, state, transaction.number)
            write_receipt(connection, receipt)

    def events(self, items: Iterable[str]) -> Events:
        """Return the events that count for the query that was booked last.

        items: the identifiers of the catalogue's items, in its order. An item that is not among them gets the
        index −1. Raises DamagedStore.
        """
        index = {item: place for place, item in enumerate(items)}
        with self.database.reading("events", "state", "settings") as transaction:
            (booked,) = transaction.connection.execute("SELECT booked FROM state").fetchone()
            rows = transaction.connection.execute(
                "SELECT item, time, weight FROM events WHERE added < ? AND time >= ?",
                (booked, self._oldest(transaction.connection)),
            ).fetchall()
        held = np.array([index.get(item, -1) for item, _, _ in rows], dtype=np.int64)
        times = np.array([when for _, when, _ in rows], dtype=np.int64)
        weights = np.array([weight for _, _, weight in rows], dtype=np.float64)
        return Events.from_columns(np.zeros(len(rows), dtype=np.int64), held, times, weights, 1)

    def targets(self) -> Targets:
        """A real device holds no item out."""
        return Targets.none(1)

    # What the owner does

    def add_events(self, rows: Sequence[tuple[str, int, float]], most_events: int) -> int:
        """Append events: item, time in seconds since 1970, weight. They count from the next query on.

        Then delete the events beyond the `most_events` newest, and those past the retention. Returns how many
        events the store holds.
        """
        with self.database.writing("events", "settings") as transaction:
            connection = transaction.connection
            connection.executemany(
                "INSERT INTO events (item, time, weight, added) VALUES (?, ?, ?, ?)",
                [(*row, transaction.number) for row in rows],
            )
            self._expire(connection)
            newest = "SELECT id FROM events ORDER BY time DESC, id DESC LIMIT ?"
            connection.execute(f"DELETE FROM events WHERE id NOT IN ({newest})", (most_events,))
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def expire(self) -> None:
        """Delete the events past the retention. They are not trained on anyway."""
        with self.database.writing("events", "settings") as transaction:
            self._expire(transaction.connection)

    def give_consent(self, version: str, purpose: str = TRAINING) -> None:
        """Record a consent to a purpose, under this version of its notice. An earlier one ends."""
        with self.database.writing("consents") as transaction:
            self._withdraw(transaction.connection, purpose)
            row = (purpose, version, int(self.clock()))
            transaction.connection.execute(
                "INSERT INTO consents (purpose, version, given) VALUES (?, ?, ?)", row
            )

    def withdraw(self, purpose: str = TRAINING) -> bool:
        """Withdraw a consent, also for an answer that is being computed. Returns whether there was one."""
        with self.database.writing("consents") as transaction:
            return self._withdraw(transaction.connection, purpose)

    def consents(self) -> list[Consent]:
        """All consents, the oldest first."""
        with self.database.reading("consents") as transaction:
            return read_consents(transaction.connection)

    def receipts(self) -> list[Receipt]:
        """All receipts, the oldest first."""
        with self.database.reading("receipts") as transaction:
            return read_receipts(transaction.connection)

    def held(self) -> list[tuple[str, int, float]]:
        """All events, as `add_events` takes them, the oldest first."""
        with self.database.reading("events") as transaction:
            return list(
                transaction.connection.execute("SELECT item, time, weight FROM events ORDER BY time, id")
            )

    def state(self) -> DeviceState:
        """The ledger, the vector and the stored answer, whether there is a consent or not."""
        with self.database.reading("state") as transaction:
            return read_state(transaction.connection)

    def retention_days(self) -> int | None:
        """The days after which events are deleted; None: never."""
        with self.database.reading("settings") as transaction:
            return read_retention_days(transaction.connection)

    def erase(self, before: int | None = None) -> int:
        """Delete the events before a time in seconds since 1970, by default all, and what they taught.

        That is the shopper's vector and the stored answer. The ledger stays: what was spent cannot be taken
        back. So do receipts and consents, as evidence. Returns how many events were deleted.
        """
        try:
            with (
                locked(self.folder / "answering.lock", wait=ANSWER_WAIT),
                self.database.writing("events", "state") as transaction,
            ):
                connection = transaction.connection
                state = read_state(connection)
                state.vectors = torch.zeros_like(state.vectors)
                state.update, state.query = {}, ""  # the same query would be another release
                write_state(connection, state, transaction.number)
                deleted = connection.execute(
                    "DELETE FROM events WHERE time < ?", (inf if before is None else before,)
                )
            self.database.empty_log()
            return int(deleted.rowcount)
        except BlockingIOError:
            raise UserError(
                f"{self.folder} is computing an answer: repeat when it is done; nothing was erased"
            ) from None

    def destroy(self) -> None:
        """Remove the store and its key. The device is retired: its folder holds a lock, and no new store."""
        self.database.keys.delete()  # first: without its key, what may be left of the file says nothing
        self.database.remove()
        (self.folder / "device.lock").touch(mode=0o600)

    def _withdraw(self, connection: Any, purpose: str) -> bool:
        ended = "UPDATE consents SET withdrawn = ? WHERE purpose = ? AND withdrawn IS NULL"
        return bool(connection.execute(ended, (int(self.clock()), purpose)).rowcount)

    def _expire(self, connection: Any) -> None:
        connection.execute("DELETE FROM events WHERE time < ?", (self._oldest(connection),))

    def _oldest(self, connection: Any) -> float:
        """The time before which events are past the retention."""
        days = read_retention_days(connection)
        return -inf if days is None else self.clock() - days * DAY
