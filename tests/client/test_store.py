"""The store of one device: what is committed when, what counts, what is consented to, what is erased."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

import terrycloth.client.device_group
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.encrypted_database import EncryptedDatabase
from terrycloth.client.events import Events
from terrycloth.client.receipts import Consent, Receipt
from terrycloth.client.state import DeviceState
from terrycloth.client.store import DeviceStore
from terrycloth.client.store_key import KeyFile, KeyRing
from terrycloth.client.training.cohort import Cohort
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.times import DAY
from terrycloth.models.update import Refusal, Reply
from tests.client.stores import bought
from tests.policies import ANYTHING
from tests.store_pages import found

NOW = 1_800_000_000


def steps(store: DeviceStore) -> int:
    return int(store.state().ledger.steps.sum())


@pytest.fixture
def trained(monkeypatch) -> list[list[int]]:
    """The items of every cohort that is trained, in turn."""
    seen: list[list[int]] = []
    real = terrycloth.client.device_group.trainer_for

    class Watched:
        def __init__(self, *rest: object) -> None:
            self.trainer = real(*rest)

        def train(self, cohort: Cohort, parameters: Parameters) -> tuple[Parameters, torch.Tensor]:
            seen.append(cohort.events.items.tolist())
            return self.trainer.train(cohort, parameters)

    monkeypatch.setattr(terrycloth.client.device_group, "trainer_for", Watched)
    return seen


# The same rules on both kinds of storage


def test_a_store_answers_as_a_folder_of_arrays_does(device, ask, query, shop, held, tmp_path):
    """Seeded, with the same events: the same updates, ledger, vector and answers, bit by bit."""
    store, arrays = device(seed=7, first=0), tmp_path / "arrays"
    DeviceGroup.create(arrays, shop, held([1, 4, 4]), ANYTHING, seed=7)
    for settings, moved in ((ask(), 0.0), (ask(), 0.0), (ask(steps_per_round=2), 0.1), (ask(dim=2), 0.0)):
        one, other = (DeviceGroup(folder).answer(query(settings, moved)) for folder in (store.folder, arrays))
        assert one.answered == other.answered == 1
        assert all(torch.equal(one.update[name], other.update[name]) for name in other.update)
        stored, file = store.state(), DeviceState.load(arrays / "state-0-of-1.safetensors")
        assert torch.equal(stored.vectors, file.vectors)
        assert np.array_equal(stored.ledger.steps, file.ledger.steps)
    assert steps(store) == 4


def test_a_seeded_device_draws_by_its_number(device, ask, query, shop, held, tmp_path):
    """Device 2 of a farm takes part in the same rounds in a store of its own."""
    farm = tmp_path / "farm"
    DeviceGroup.create(farm, shop, held([1], [2], [1, 4, 4]), ANYTHING, seed=7)
    alone = DeviceGroup(device(seed=7, first=2).folder)
    whole = [DeviceGroup(farm).participation_draws(round)[2] for round in range(1, 9)]
    assert [alone.participation_draws(round)[0] for round in range(1, 9)] == whole


def test_a_store_is_not_divided(device):
    with pytest.raises(ValueError, match="one device"):
        DeviceGroup(device().folder, 0, 2)


# Two transactions


def test_a_query_is_charged_in_one_transaction_before_an_event_is_read_and_answered_in_another(
    device, ask, query, monkeypatch
):
    """What each transaction left in the store, and when events were read."""
    store, done = device(), []
    numbers = {"commit": EncryptedDatabase._commit, "events": DeviceStore.events}

    def commit(database, connection, *rest):
        result = numbers["commit"](database, connection, *rest)
        done.append((*connection.execute("SELECT json_extract(facts, '$.asked') FROM state").fetchone(),
                     *connection.execute("SELECT json_extract(facts, '$.replied') FROM state").fetchone(),
                     *connection.execute("SELECT count(*) FROM receipts").fetchone()))  # fmt: skip
        return result

    def events(own, items):
        done.append("events are read")
        return numbers["events"](own, items)

    monkeypatch.setattr(EncryptedDatabase, "_commit", commit)
    monkeypatch.setattr(DeviceStore, "events", events)
    assert DeviceGroup(store.folder).answer(query(ask())).answered == 1
    assert done == [(1, 0, 0), "events are read", (1, 1, 1)]


@pytest.mark.parametrize("place", ["before booking", "in training", "before the answer is stored"])
def test_a_device_that_was_charged_and_killed_answers_as_an_empty_one(
    place, device, ask, query, trained, monkeypatch
):
    """A process that dies at a place, and the same question to the next one."""
    store = device()
    killed = {
        "before booking": (DeviceStore, "save"),
        "in training": (DeviceStore, "events"),
        "before the answer is stored": (DeviceStore, "conclude"),
    }

    class Killed(BaseException): ...

    def kill(*rest: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(*killed[place], kill)
        patched.setattr(terrycloth.client.device_group, "attempt", lambda make: make())
        with pytest.raises(Killed):
            DeviceGroup(store.folder).answer(query(ask()))
    trained.clear()
    assert DeviceGroup(store.folder).answer(query(ask())).answered == 1
    assert trained == ([[1, 4, 4]] if place == "before booking" else [[]])
    assert steps(store) == 1
    assert DeviceGroup(store.folder).answer(query(ask(), 0.1)).answered == 1
    assert trained[1:] == [[1, 4, 4]]


def test_a_stored_answer_is_repeated_at_no_cost(device, ask, query, trained):
    store = device()
    first = DeviceGroup(store.folder).answer(query(ask()))
    store.add_events(bought(2), 1_000)
    again = DeviceGroup(store.folder).answer(query(ask()))
    assert all(torch.equal(again.update[name], first.update[name]) for name in first.update)
    assert (steps(store), len(store.receipts()), trained) == (1, 1, [[1, 4, 4]])


# Events


def test_events_count_from_the_next_query_on(device, ask, query, trained, monkeypatch):
    """One is added while the device trains, after its query was booked."""
    store = device()
    real = DeviceStore.events

    def events(own: DeviceStore, items: list[str]) -> Events:
        DeviceStore(store.folder).add_events(bought(2), 1_000)
        return real(own, items)

    with monkeypatch.context() as patched:
        patched.setattr(DeviceStore, "events", events)
        DeviceGroup(store.folder).answer(query(ask()))
    DeviceGroup(store.folder).answer(query(ask(), 0.1))
    assert trained == [[1, 4, 4], [1, 2, 4, 4]] or trained == [[1, 4, 4], [1, 4, 2, 4]]


def test_items_are_known_by_name_and_those_that_the_catalogue_lacks_do_not_count(device, ask, query, trained):
    store = device([1])
    store.add_events([("another shop's towel", NOW, 1.0), ("towel-7", NOW, 1.0)], 1_000)
    DeviceGroup(store.folder).answer(query(ask()))
    assert trained == [[1, 7]]
    assert [item for item, _, _ in store.held()] == ["towel-1", "another shop's towel", "towel-7"]


def test_only_the_newest_events_are_stored(device):
    store = device([])
    assert store.add_events(bought(0, 1, 2, 3), 3) == 3
    assert store.add_events(bought(5, time=1_600_000_000), 3) == 3  # older than all of them
    assert [item for item, _, _ in store.held()] == ["towel-1", "towel-2", "towel-3"]


def test_events_past_the_retention_are_not_trained_on_and_are_deleted(device, ask, query, trained):
    store = device([], retention_days=30)
    store.clock = lambda: NOW
    store.add_events([("towel-1", NOW - 29 * DAY, 1.0), ("towel-2", NOW - 10, 1.0)], 1_000)
    DeviceGroup(store.folder, clock=lambda: NOW + 2 * DAY).answer(query(ask()))
    assert trained == [[2]]
    store.clock = lambda: NOW + 2 * DAY
    store.expire()
    assert [item for item, _, _ in store.held()] == ["towel-2"]
    assert store.retention_days() == 30


# Consent


def test_a_device_trains_only_where_its_shopper_consented(device, ask, query, trained):
    store = device(consent=False)
    refusal = Reply(1, {}, 0, {Refusal.CONSENT: 1})
    assert DeviceGroup(store.folder).answer(query(ask())) == refusal
    store.give_consent("2026-05", "advertising")
    assert DeviceGroup(store.folder).answer(query(ask())) == refusal
    store.give_consent("2026-05")
    assert DeviceGroup(store.folder).answer(query(ask())).answered == 1
    store.withdraw()
    for moved in (0.0, 0.1):  # the stored answer does not leave either
        assert DeviceGroup(store.folder).answer(query(ask(), moved)) == refusal
    assert (steps(store), len(trained)) == (1, 1)


def test_a_consent_that_is_withdrawn_while_the_device_trains_keeps_the_answer_back(
    device, ask, query, monkeypatch
):
    store = device()
    real = DeviceStore.events

    def events(own: DeviceStore, items: list[str]) -> Events:
        DeviceStore(store.folder).withdraw()
        return real(own, items)

    monkeypatch.setattr(DeviceStore, "events", events)
    assert DeviceGroup(store.folder).answer(query(ask())) == Reply(1, {}, 0, {Refusal.CONSENT: 1})
    assert (store.state().replied, store.state().update, store.receipts()) == (False, {}, [])
    assert steps(store) == 1  # what was charged stays


def test_consents_are_kept_with_purpose_version_and_times(device):
    store = device([], consent=False)
    acts = [("1", "training"), ("2", "training"), ("1", "news"), None, None]
    for second, consented in enumerate(acts):
        store.clock = lambda second=second: NOW + second
        store.give_consent(*consented) if consented else store.withdraw()
    assert store.consents() == [
        Consent("training", "1", NOW, NOW + 1),
        Consent("training", "2", NOW + 1, NOW + 3),
        Consent("news", "1", NOW + 2, None),
    ]
    assert str(store.consents()[0]) == (
        "training, notice version 1: given 2027-01-15 08:00 UTC, withdrawn 2027-01-15 08:00 UTC"
    )


# Receipts


def test_a_receipt_says_what_left_when_and_what_it_cost(device, ask, query, monkeypatch):
    """One step at σ = 1 costs 4.38 at δ = 1e-5; the update of 8 items × 4 numbers has 128 bytes."""
    store = device()
    settings = ask(epsilon=6.0, run="spring")
    monkeypatch.setattr(DeviceGroup, "published", lambda *_: "2, towels (ab12)")
    for moved in (0.0, 0.1):
        DeviceGroup(store.folder, clock=lambda: NOW).answer(query(settings, moved))
    sent, refused = store.receipts()
    assert sent.epsilon == refused.epsilon == pytest.approx(4.38, abs=0.005)
    common = {
        "time": NOW, "task": "2, towels (ab12)", "run": "spring", "round": 1, "rounds": 10,
        "model": "mf",
        "unit": "interaction", "trust": "local", "epsilon": sent.epsilon, "delta": 1e-5,
    }  # fmt: skip
    assert sent == Receipt(**common, sent_bytes=128, refused="")
    assert refused == Receipt(**common, sent_bytes=0, refused="budget-passed")
    assert str(sent) == (
        "2027-01-15 08:00 UTC: an update with noise left the device: 128 bytes for the model mf (round 1 of "
        "10 of run spring, published task 2, towels (ab12)); ε spent so far 4.38 for one purchase (δ = "
        "1e-05, trust local)"
    )
    assert "nothing left the device, which refused (budget-passed)" in str(refused)


def test_a_receipt_without_a_promise_says_so(device, plain, query):
    store = device()
    DeviceGroup(store.folder).answer(query(plain(unit="none", trust="none")))
    (receipt,) = store.receipts()
    assert "an update without a promise left the device" in str(receipt)
    assert str(receipt).endswith("; ε is not limited")


# Erasure


def erased(store: DeviceStore) -> int:
    """The number of pages, free ones and the log included, that still hold what was bought and erased."""
    key = bytes.fromhex(store.database.keys.read().key)
    store.add_events([(f"secret-{number}", NOW + number, 1.0) for number in range(400)], 1_000)
    assert found("secret-3", store.path, key) > 1
    store.erase(NOW + 400)
    assert not store.held()
    return found("secret-", store.path, key)


def test_no_page_holds_an_erased_event(device):
    assert erased(device([])) == 0


def test_without_secure_delete_pages_hold_erased_events(device, monkeypatch):
    """So the search above sees what it looks for."""
    real = EncryptedDatabase._connected

    class Careless:
        def __init__(self, *arguments: object) -> None:
            self.opened = real(*arguments)

        def __enter__(self) -> object:
            connection = self.opened.__enter__()
            connection.execute("PRAGMA secure_delete = OFF")
            return connection

        def __exit__(self, *raised: object) -> object:
            return self.opened.__exit__(*raised)

    monkeypatch.setattr(EncryptedDatabase, "_connected", lambda *arguments: Careless(*arguments))
    assert erased(device([])) > 0


def test_an_erasure_that_another_program_holds_up_says_so(device, monkeypatch):
    monkeypatch.setattr("terrycloth.client.encrypted_database.WAIT", 0.1)
    store = device([1])
    anchor = store.database.keys.read()
    with store.database._connected(anchor.key) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(UserError, match="still on the disk"):
            store.erase()
        assert found("towel-1", store.path, bytes.fromhex(anchor.key)) > 0
        reader.execute("ROLLBACK")
    store.erase()
    assert found("towel-1", store.path, bytes.fromhex(anchor.key)) == 0


def test_what_was_learned_goes_and_what_was_spent_stays(device, ask, query, trained):
    store = device()
    DeviceGroup(store.folder).answer(query(ask()))
    assert store.state().vectors.any()
    assert store.erase() == 3
    state = store.state()
    assert (state.vectors.any().item(), state.update, state.query, steps(store)) == (False, {}, "", 1)
    assert len(store.receipts()) == len(store.consents()) == 1
    DeviceGroup(store.folder).answer(query(ask()))  # the same question is now another release
    assert (trained, steps(store)) == ([[1, 4, 4], []], 2)


def test_a_part_of_the_events_is_erased(device):
    store = device([1, 4, 5])  # one second after the other
    assert store.erase(1_700_000_001) == 1
    assert [item for item, _, _ in store.held()] == ["towel-4", "towel-5"]


@pytest.mark.parametrize("key_file", [True, False])
def test_a_store_that_is_destroyed_leaves_no_key_and_is_not_made_again(key_file, device, ring, shop):
    store = device(key_file=key_file)
    assert bool(ring.entries) != key_file
    store.destroy()
    assert not ring.entries
    assert not [path for path in store.folder.iterdir() if path.name in ("device.db", "store.key")]
    with pytest.raises(UserError, match="a store is made once"):
        DeviceStore.create(store.folder, shop, ANYTHING)


def test_a_key_that_cannot_be_deleted_is_said_and_leaves_the_store(device, monkeypatch):
    def refuse(*rest: object) -> None:
        raise RuntimeError

    store = device()
    with monkeypatch.context() as patched:
        patched.setattr("keyring.delete_password", refuse)
        with pytest.raises(UserError, match="key ring cannot be used"):
            store.destroy()
    assert len(store.held()) == 3


# Files and keys


@pytest.mark.parametrize("key_file", [True, False])
def test_a_store_is_for_its_owner_alone(key_file, device, ask, query):
    umask = os.umask(0)
    try:
        store = device(key_file=key_file)
        DeviceGroup(store.folder).answer(query(ask()))
        with store.database.writing("state"):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()}
    finally:
        os.umask(umask)
    assert {"device.db", "device.db-wal", "device.db-shm", "device.lock", "answering.lock"} <= set(modes)
    assert ("store.key" in modes) == key_file
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_nothing_readable_is_on_disk(device, ask, query):
    store = device()
    store.give_consent("a version of the notice")
    DeviceGroup(store.folder).answer(query(ask(run="a named run")))
    for path in store.folder.glob("device.*"):
        assert not any(word in path.read_bytes() for word in (b"towel-4", b"SQLite", b"named run", b"notice"))


def test_a_key_is_in_one_place_and_a_store_that_is_moved_keeps_it(device, tmp_path):
    in_ring, in_file = device(), device(key_file=True)
    assert isinstance(in_ring.database.keys, KeyRing)
    assert isinstance(in_file.database.keys, KeyFile)
    for store in (in_ring, in_file):
        key = store.database.keys.read().key
        assert len(key) == 64
        assert key not in repr(store.database.keys.read())
        moved = store.folder.rename(tmp_path / f"moved-{store.folder.name}")
        assert len(DeviceStore(moved).held()) == 3


def test_a_key_file_may_lie_on_another_disk(device, tmp_path):
    store = device(key_file=True)
    (store.folder / "store.key").rename(tmp_path / "elsewhere.key")
    (store.folder / "store.key").symlink_to(tmp_path / "elsewhere.key")
    again = DeviceStore(store.folder)
    again.add_events(bought(5), 1_000)
    assert (store.folder / "store.key").is_symlink()
    assert len(again.held()) == 4


def test_a_store_that_cannot_be_made_leaves_nothing(shop, tmp_path, monkeypatch):
    """This machine's key ring cannot be used; and then the disk fails."""

    def refuse(*rest: object) -> None:
        raise RuntimeError("a private text")

    monkeypatch.setattr("keyring.set_password", refuse)
    with pytest.raises(UserError, match=r"key ring cannot be used \(RuntimeError\).*--key-file"):
        DeviceStore.create(tmp_path / "one", shop, ANYTHING)
    monkeypatch.setattr(EncryptedDatabase, "_migrate", refuse)
    with pytest.raises(RuntimeError):
        DeviceStore.create(tmp_path / "two", shop, ANYTHING, key_file=True)
    assert not list(Path(tmp_path).iterdir())


def test_a_disk_that_is_full_of_everything_else_leaves_no_half_made_device(shop, tmp_path, monkeypatch, ring):
    def full(*rest: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("terrycloth.client.store.begin", full)
    with pytest.raises(OSError, match="No space"):
        DeviceStore.create(tmp_path / "one", shop, ANYTHING)
    assert (list(tmp_path.iterdir()), ring.entries) == ([], {})


def test_a_store_that_was_lost_refuses_and_is_not_taken_for_a_new_one(device, ask, query):
    store = device()
    store.path.unlink()
    assert DeviceGroup(store.folder).answer(query(ask())) == Reply(1, {}, 0, {Refusal.LEDGER: 1})
    assert not store.path.exists()
