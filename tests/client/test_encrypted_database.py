"""What somebody with the device's disk can do to its store, and what goes wrong by itself: one line each."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from terrycloth.client import encrypted_database
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.encrypted_database import EncryptedDatabase
from terrycloth.client.state import DeviceState
from terrycloth.client.store import DeviceStore
from terrycloth.client.store_errors import DamagedStore
from terrycloth.client.store_key import Anchor, KeyFile, KeyHolder
from terrycloth.client.store_tables import MIGRATIONS
from terrycloth.models.errors import UserError
from terrycloth.models.update import Refusal, Reply
from tests.client.stores import MemoryRing, bought
from tests.policies import ANYTHING
from tests.store_pages import PAGE

LEDGER_REFUSED = Reply(1, {}, 0, {Refusal.LEDGER: 1})


def everything(store: DeviceStore) -> str:
    """All that a store holds, as text."""
    facts, tensors = store.state().to_parts()
    return repr((facts, tensors, store.held(), store.consents(), store.receipts(), store.retention_days()))


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert "towel" not in text
    return text


@pytest.fixture(scope="module", params=["key ring", "key file"])
def template(request, tmp_path_factory, shop, ask, query) -> tuple[Path, MemoryRing]:
    """The folder of a device that was asked twice, and the key ring, which may hold its key."""
    folder, ring = tmp_path_factory.mktemp("store") / "device", MemoryRing()
    with pytest.MonkeyPatch.context() as patched:
        ring.patch(patched)
        store = DeviceStore.create(folder, shop, ANYTHING, key_file=request.param == "key file")
        store.give_consent("2026-05")
        store.add_events(bought(1, 4, 4), 1_000)
        for moved in (0.0, 0.1):
            DeviceGroup(folder).answer(query(ask(steps_per_round=2), moved))
    return folder, ring


@pytest.fixture
def used(template, tmp_path, ring) -> DeviceStore:
    """A copy of that device."""
    shutil.copytree(template[0], tmp_path / "device")
    ring.entries.update(template[1].entries)
    return DeviceStore(tmp_path / "device")


# Edits and older content


def with_two_steps_as_none(store: DeviceStore) -> tuple[str, bytes]:
    state = store.state()
    assert state.ledger.steps.tolist() == [[4]]
    state.ledger.steps[:] = state.day_start[:] = 0
    return state.to_parts()


def test_an_edited_ledger_is_believed_by_arrays_and_not_by_a_store(ask, query, shop, held, used, tmp_path):
    """The attack: `steps` becomes 0 in the file. In a store it takes the key, and then shows all the same."""
    arrays = tmp_path / "arrays"
    DeviceGroup.create(arrays, shop, held([1, 4, 4]), ANYTHING)
    DeviceGroup(arrays).answer(query(ask(steps_per_round=2)))
    path = arrays / "state-0-of-1.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors, facts = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors | {"steps": torch.zeros(1, 1, dtype=torch.int64)}, path, facts)
    assert DeviceState.load(path).ledger.epsilon(1e-5).tolist() == [0.0]

    parts = with_two_steps_as_none(used)
    with used.database._connected(used.database.keys.read().key) as connection:
        connection.execute("UPDATE state SET facts = ?, tensors = ?", parts)
    with pytest.raises(DamagedStore) as error:
        used.state()
    assert "holds an older or changed page" in one_line(error)
    assert DeviceGroup(used.folder).answer(query(ask(), 0.2)) == LEDGER_REFUSED


def test_an_edited_ledger_with_a_digest_to_match_is_not_believed_either(ask, query, used):
    parts = with_two_steps_as_none(used)
    with used.database._connected(used.database.keys.read().key) as connection:
        connection.execute("UPDATE state SET facts = ?, tensors = ?", parts)
        (digests,) = connection.execute("SELECT digests FROM head").fetchone()
        changed = json.loads(digests) | {"state": encrypted_database.digest_of(connection, "state")}
        connection.execute("UPDATE head SET digests = ?", (json.dumps(changed),))
    with pytest.raises(DamagedStore) as error:
        used.state()
    assert "was changed" in one_line(error)


def test_a_bit_that_is_flipped_without_the_key_shows(used, ask, query):
    """In any page: whatever still can be read is as it was."""
    whole, content = used.path.read_bytes(), everything(used)
    shown = 0
    for page in range(0, len(whole), PAGE):
        flipped = bytearray(whole)
        flipped[page + 100] ^= 1
        used.path.write_bytes(flipped)
        try:
            assert everything(DeviceStore(used.folder)) == content  # a free page
        except DamagedStore:
            shown += 1
            if page == 0:
                assert DeviceGroup(used.folder).answer(query(ask())) == LEDGER_REFUSED
    assert shown >= 6  # the schema, the head, and the tables
    used.path.write_bytes(whole)
    assert everything(used) == content


def test_an_older_page_that_is_put_back_shows(used, ask, query):
    """Each page that the last query, purchase and consent changed, one at a time, and any two of them."""
    old = used.path.read_bytes()
    DeviceGroup(used.folder).answer(query(ask(), 0.2))
    used.add_events(bought(*[7] * 200), 1_000)
    used.give_consent("2026-06")
    new, content = used.path.read_bytes(), everything(used)
    changed = [at for at in range(0, len(old), PAGE) if old[at : at + PAGE] != new[at : at + PAGE]]
    assert len(changed) >= 4
    shown = 0
    for one in changed:
        for other in changed:
            mixed = bytearray(new)
            for at in {one, other}:
                mixed[at : at + PAGE] = old[at : at + PAGE]
            used.path.write_bytes(mixed)
            try:
                assert everything(DeviceStore(used.folder)) == content
            except DamagedStore:
                shown += 1
    assert shown >= 9


def test_an_older_file_that_is_put_back_shows(used, ask, query):
    old = used.path.read_bytes()
    DeviceGroup(used.folder).answer(query(ask(), 0.2))
    new, content = used.path.read_bytes(), everything(used)
    used.path.write_bytes(old)
    with pytest.raises(DamagedStore) as error:
        used.state()
    assert "is older than what was last written" in one_line(error)
    assert DeviceGroup(used.folder).answer(query(ask(), 0.3)) == LEDGER_REFUSED
    used.path.write_bytes(new)
    assert everything(used) == content


def test_a_log_that_is_removed_with_a_charge_in_it_shows(used, ask, query):
    """The file as it was before, although the charge for a query was on disk in its log."""
    database = used.database
    with database._connected(database.keys.read().key):  # keeps the log from being emptied for good
        old = used.path.read_bytes()
        DeviceGroup(used.folder).answer(query(ask(), 0.2))
    used.path.write_bytes(old)
    with pytest.raises(DamagedStore, match="older"):
        used.state()


def test_with_a_key_file_an_older_folder_is_believed(device, ask, query):
    """What is left without a key ring: see docs/security.md. With one, the same is found out."""
    for key_file in (True, False):
        store = device(key_file=key_file)
        backup = store.folder.with_name(f"backup-{key_file}")
        shutil.copytree(store.folder, backup)
        DeviceGroup(store.folder).answer(query(ask()))
        shutil.rmtree(store.folder)
        backup.rename(store.folder)
        if key_file:
            assert DeviceStore(store.folder).state().asked == 0
        else:
            with pytest.raises(DamagedStore, match="older"):
                DeviceStore(store.folder).state()


def test_a_store_of_somebody_else_is_not_taken_for_this_one(device, ask, query):
    """Its key is not in the key ring of the device's owner, or is another one."""
    mine, other = device(), device(key_file=True)
    shutil.copy(other.path, mine.path)
    with pytest.raises(UserError, match="holds no key for this store"):
        DeviceStore(mine.folder).state()
    mine, other = device(key_file=True), device(key_file=True)
    shutil.copy(other.path, mine.path)
    with pytest.raises(DamagedStore, match="its key does not fit"):
        DeviceStore(mine.folder).state()


# Crashes between the file and the key


class Killed(BaseException): ...


@pytest.mark.parametrize(("write", "added"), [(1, 0), (2, 1)])
def test_a_process_that_dies_between_the_file_and_its_key_leaves_one_of_two_states(
    write, added, used, monkeypatch
):
    """Before the commit the new head is noted with the key, after it the head takes the old one's place."""
    keys, writes = type(used.database.keys), []
    real = keys.write

    def die(own: KeyHolder, anchor: Anchor) -> None:
        writes.append(anchor)
        if len(writes) == write:
            raise Killed
        real(own, anchor)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "write", die)
        with pytest.raises(Killed):
            used.add_events(bought(7), 1_000)
    again = DeviceStore(used.folder)
    assert len(again.held()) == 3 + added
    assert again.database.keys.read().following == ""
    again.add_events(bought(7), 1_000)
    assert len(again.held()) == 4 + added


@pytest.mark.parametrize(("write", "said", "added"), [(1, "nothing was changed", 0), (2, "do not repeat", 1)])
def test_a_key_that_cannot_be_updated_is_one_line_that_says_what_was_written(
    write, said, added, used, monkeypatch
):
    keys, writes = type(used.database.keys), []
    real = keys.write

    def fail(own: KeyHolder, anchor: Anchor) -> None:
        writes.append(anchor)
        if len(writes) == write:
            raise UserError("the key cannot be written")
        real(own, anchor)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "write", fail)
        with pytest.raises(UserError, match=said) as error:
            used.add_events(bought(7), 1_000)
    one_line(error)
    assert len(DeviceStore(used.folder).held()) == 3 + added


def test_an_answer_whose_head_cannot_be_kept_does_not_leave(used, ask, query, monkeypatch):
    """Else the file from before its charge could be put back."""
    keys, writes = type(used.database.keys), []
    real = keys.write

    def fail(own: KeyHolder, anchor: Anchor) -> None:
        writes.append(anchor)
        if len(writes) == 4:  # two for the charge, and the second for the answer
            raise UserError("the key cannot be written")
        real(own, anchor)

    with monkeypatch.context() as patched:
        patched.setattr(keys, "write", fail)
        with pytest.raises(UserError):
            DeviceGroup(used.folder).answer(query(ask(), 0.2))
    assert DeviceGroup(used.folder).answer(query(ask(), 0.2)).answered == 1  # the stored answer
    assert (used.state().asked, len(used.receipts())) == (3, 3)


def test_the_head_of_a_committed_transaction_replaces_the_earlier_one_before_anything_rests_on_it(
    used, monkeypatch
):
    """Else the file from before a charge could be put back after its answer left."""
    before = used.path.read_bytes()
    used.add_events(bought(7), 1_000)
    assert used.database.keys.read().following == ""
    used.path.write_bytes(before)
    with pytest.raises(DamagedStore):
        used.held()


# What goes wrong by itself


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in half": (lambda path: os.truncate(path, path.stat().st_size // 2), "damaged"),
    "cut within a page": (lambda path: os.truncate(path, path.stat().st_size - 100), "damaged"),
    "cut to a few bytes": (lambda path: os.truncate(path, 100), "damaged"),
    "something else": (lambda path: path.write_bytes(path.read_bytes()[:16] + b"x" * 8_176), "key"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line_and_stays_as_it_is(damage, used, ask, query, caplog, capfd):
    act, said = DAMAGES[damage]
    whole = used.path.read_bytes()
    act(used.path)
    damaged = used.path.read_bytes()
    with pytest.raises(DamagedStore) as error:
        everything(used)
    assert said in one_line(error)
    assert "restore" in str(error.value)
    assert DeviceGroup(used.folder).answer(query(ask(), 0.2)) == LEDGER_REFUSED
    assert used.path.read_bytes() == damaged
    assert capfd.readouterr() == ("", "")  # SQLCipher logs to stderr by default
    used.path.write_bytes(whole)
    assert len(used.receipts()) == 2


def test_an_emptied_or_removed_file_starts_no_new_ledger(used):
    used.path.write_bytes(b"")
    with pytest.raises(UserError) as error:
        DeviceStore(used.folder).state()
    one_line(error)
    assert used.path.read_bytes() == b""
    used.path.unlink()
    with pytest.raises(UserError) as error:
        DeviceStore(used.folder).state()
    one_line(error)
    assert not used.path.exists()


def test_a_wrong_key_is_one_line_and_loses_nothing(device, capfd):
    store = device(key_file=True)
    keys = KeyFile(store.folder / "store.key")
    good = keys.read()
    keys.write(Anchor.new())
    with pytest.raises(DamagedStore) as error:
        store.add_events(bought(5), 1_000)
    assert "its key does not fit" in one_line(error)
    keys.write(good)
    assert len(store.held()) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("{}"), "cannot be read"),
        (lambda path: path.chmod(0o644), "chmod 600"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_one_line(spoil, said, device):
    store = device(key_file=True)
    store.held()
    spoil(store.folder / "store.key")
    with pytest.raises(UserError, match=said) as error:
        store.held()
    one_line(error)


def test_a_key_that_the_ring_no_longer_has_is_one_line(device, ring: MemoryRing):
    store = device()
    ring.entries.clear()
    with pytest.raises(UserError, match="holds no key for this store") as error:
        store.held()
    one_line(error)


def test_a_full_file_is_one_line_and_loses_nothing(used, monkeypatch):
    """SQLite says that the disk is full when the file may grow no further."""
    content, opened = everything(used), EncryptedDatabase._version

    def full(connection) -> int:
        (size,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {size}")
        return opened(connection)

    with monkeypatch.context() as patched:
        patched.setattr(EncryptedDatabase, "_version", staticmethod(full))
        with pytest.raises(UserError) as error:
            used.add_events(bought(*[7] * 500), 1_000)
    assert "no space is left" in one_line(error)
    assert "nothing was changed" in str(error.value)
    assert everything(used) == content
    assert used.add_events(bought(*[7] * 500), 1_000) == 503


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from terrycloth.client.store import DeviceStore
from terrycloth.models.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    DeviceStore(Path(sys.argv[1])).add_events([("towel-7", 1_700_000_000, 1.0)] * 500, 1_000)
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_process_that_may_write_no_more_bytes_loses_nothing(device):
    """The system itself refuses to write, in the middle of the log."""
    store = device(key_file=True)
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(store.folder)], capture_output=True, text=True, check=True
    )
    assert "no space is left" in said.stdout
    assert said.stdout.count("\n") == 1
    assert len(store.held()) == 3
    assert store.add_events(bought(*[7] * 500), 1_000) == 503


def test_a_second_writer_waits_and_then_says_so(used, monkeypatch):
    content = everything(used)
    monkeypatch.setattr(encrypted_database, "WAIT", 0.05)
    with used.database.writing("events"), pytest.raises(UserError) as error:
        DeviceStore(used.folder).add_events(bought(7), 1_000)
    assert "another process is using" in one_line(error)
    assert everything(used) == content
    assert used.add_events(bought(7), 1_000) == 4


def test_another_program_that_writes_is_one_line_too(used, monkeypatch):
    """A shell of SQLCipher's, which knows nothing of the lock."""
    content = everything(used)
    monkeypatch.setattr(encrypted_database, "WAIT", 0.05)
    with used.database._connected(used.database.keys.read().key) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError) as error:
            used.add_events(bought(7), 1_000)
    assert "another program is using" in one_line(error)
    assert everything(used) == content


def test_an_error_in_a_transaction_undoes_all_of_it(used):
    content = everything(used)

    def fail() -> None:
        with used.database.writing("events", "consents") as transaction:
            transaction.connection.execute("DELETE FROM events")
            transaction.connection.execute("DELETE FROM consents")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert everything(used) == content


def test_a_table_that_a_transaction_did_not_name_is_found_out(used):
    """The guard for this code itself."""
    with used.database.writing("consents") as transaction:
        transaction.connection.execute("DELETE FROM events")
    with pytest.raises(DamagedStore):
        used.held()


# Versions


def test_a_store_of_version_1_is_migrated_and_keeps_everything(device, ask, query, monkeypatch):
    """Made by the first script alone, with a receipt of that version."""
    with monkeypatch.context() as patched:
        patched.setattr("terrycloth.client.store.MIGRATIONS", MIGRATIONS[:1])
        store = device()
        with store.database.writing("receipts") as transaction:
            transaction.connection.execute(
                "INSERT INTO receipts VALUES (1, 2, 'r', 1, 2, 'mf', 'shopper', 'local', 128, 1.5, 1e-5, '')"
            )
    newest = DeviceStore(store.folder)
    (receipt,) = newest.receipts()
    assert (receipt.task, receipt.run, receipt.epsilon) == ("", "r", 1.5)
    assert (len(newest.held()), len(newest.consents())) == (3, 1)
    with newest.database.reading() as transaction:
        assert transaction.connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert DeviceGroup(store.folder).answer(query(ask())).answered == 1


def test_an_edited_store_of_version_1_is_not_migrated(device, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("terrycloth.client.store.MIGRATIONS", MIGRATIONS[:1])
        store = device()
        with store.database._connected(store.database.keys.read().key) as connection:
            connection.execute("DELETE FROM events")
    before = store.path.read_bytes()
    with pytest.raises(DamagedStore):
        DeviceStore(store.folder).consents()
    assert store.path.read_bytes() == before


def test_a_store_of_a_newer_version_is_left_alone(device, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(
            "terrycloth.client.store.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (id INTEGER)")
        )
        store = device()
    with pytest.raises(UserError, match="newer version of terrycloth"):
        DeviceStore(store.folder).held()


def test_the_file_is_encrypted_with_these_parameters(used):
    """What tests/store_pages.py relies on."""
    with used.database.reading() as transaction:
        names = (
            "cipher_page_size",
            "cipher_hmac_algorithm",
            "journal_mode",
            "synchronous",
            "secure_delete",
        )
        found = {name: transaction.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    assert found == {
        "cipher_page_size": "4096", "cipher_hmac_algorithm": "HMAC_SHA512", "journal_mode": "wal",
        "synchronous": 2, "secure_delete": 1,
    }  # fmt: skip
