"""What a device accepts as the list: attacks by whoever serves it, by the brand, and by both."""

import json
import shutil
import time
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from terrycloth.client.task_fetch import LIMITS, fetch, pin
from terrycloth.client.task_list import TaskList
from terrycloth.experiments.tasks.keys import create_keys, load_public, load_signer
from terrycloth.experiments.tasks.publish import after, sign, write_root
from terrycloth.models.errors import UserError
from terrycloth.models.tasks.published import LIST_FILE, PublishedList, UnusableList
from terrycloth.models.times import DAY
from tests.published import Publisher, entry, notice


@pytest.fixture
def shop(tmp_path) -> Publisher:
    """A list of one task, signed by brand and witness."""
    publisher = Publisher(tmp_path / "shop")
    publisher.both(entry(1))
    return publisher


@pytest.fixture
def device(tmp_path, shop) -> Path:
    """The folder of a device that pinned the root and the witness, and accepted the list of one task."""
    (tmp_path / "device").mkdir()
    shop.pin(tmp_path / "device")
    shop.fetch(tmp_path / "device")
    return tmp_path / "device"


def titles(device: Path) -> list[str]:
    kept = TaskList.open(device).kept
    return [] if kept is None else [each.title for each in kept.published.entries]


def refused(shop: Publisher, device: Path, reason: str, source: Path | None = None) -> None:
    """The list is refused for this reason, in one line, and the device keeps what it had."""
    before = titles(device)
    with pytest.raises(UnusableList, match=reason) as raised:
        shop.fetch(device, source)
    assert "\n" not in str(raised.value)
    assert titles(device) == before


def test_a_list_by_brand_and_witness_is_kept_and_grows(shop, device):
    assert titles(device) == ["task 1"]
    shop.both(notice("an incident"))
    shop.publish(entry(2))
    shop.publish(entry(3))  # two more before the witness signs
    shop.witness()
    shop.fetch(device)
    assert titles(device) == ["task 1", "an incident", "task 2", "task 3"]
    shop.fetch(device)  # the same again
    assert len(titles(device)) == 4


# Whoever serves the list, without a key


def test_rollback_an_older_list_is_refused(shop, device):
    older = shop.copy("older")
    shop.both(entry(2))
    shop.fetch(device)
    refused(shop, device, "timestamp version 1 must be >= 2", older)
    assert titles(device) == ["task 1", "task 2"]


def test_freeze_a_list_that_has_expired_is_refused(shop, tmp_path):
    frozen = tmp_path / "frozen"
    shop.publish(None, now=time.time() - 31 * DAY, days=30)
    shop.witness()
    shop.pin(frozen)
    refused(shop, frozen, "timestamp.json is expired")


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_mix_and_match_of_two_lists_is_refused(role, shop, device):
    """Every file is one that brand and witness signed, and one of them belongs to an earlier list."""
    shop.both(entry(2))
    shutil.copy(shop.list.metadata / f"1.{role}.json", shop.list.metadata / f"2.{role}.json")
    refused(shop, device, f"Expected {role} (v|version )2, got (v?)1")


def test_another_list_than_the_signed_one_is_refused(shop, device):
    (first,) = shop.list.targets.iterdir()
    shop.both(entry(2))
    (second,) = {*shop.list.targets.iterdir()} - {first}
    shutil.copy(first, second)
    refused(shop, device, "length|hash")


@pytest.mark.parametrize("name", ["1.targets.json", "1.snapshot.json", "timestamp.json"])
def test_metadata_that_was_changed_is_refused(name, shop, tmp_path):
    path = shop.list.metadata / name
    values = json.loads(path.read_text())
    values["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(values))
    shop.pin(tmp_path / "new")
    refused(shop, tmp_path / "new", "was signed by [01]/[12] keys")


@pytest.mark.parametrize("missing", ["metadata/timestamp.json", "metadata/1.targets.json", "targets"])
def test_what_is_not_served_is_said(missing, shop, tmp_path):
    path = shop.list.path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shop.pin(tmp_path / "new")
    refused(shop, tmp_path / "new", "cannot be fetched")


def test_more_than_a_device_takes_is_not_downloaded(shop, device):
    shop.both(entry(2))
    (shop.list.metadata / "timestamp.json").write_bytes(b" " * (LIMITS.timestamp_max_length + 1))
    refused(shop, device, "cannot be fetched: Downloaded .* exceeding the maximum")


# The brand, without the witness


def test_one_signature_is_not_enough(shop, device):
    shop.publish(entry(2))
    refused(shop, device, "targets was signed by 1/2 keys")
    shop.witness()
    shop.fetch(device)
    assert titles(device) == ["task 1", "task 2"]


def test_the_witness_alone_is_not_enough(shop, device):
    """It signs what the brand published, with the brand's signature taken off."""
    shop.both(entry(2))
    path = shop.list.metadata / "2.targets.json"
    targets = Metadata[Targets].from_file(str(path))
    brand = load_public(shop.home / "brand.pub").keyid
    del targets.signatures[brand]
    path.write_bytes(targets.to_bytes())
    refused(shop, device, "targets was signed by 1/2 keys")


def test_another_witness_than_the_pinned_one_is_refused(shop, device):
    """The root key replaces the witness's key by another, with which the brand then signs for itself."""
    create_keys(shop.home / "puppet")
    brand, puppet = (load_public(shop.home / f"{name}.pub") for name in ("brand", "puppet"))
    write_root(shop.list, shop.signer("root"), brand, puppet, time.time())
    shop.publish(entry(2))
    shutil.copy(shop.home / "puppet.pem", shop.home / "witness.pem")
    shop.witness(record=shop.home / "another.json")
    refused(shop, device, "the witness that is pinned did not sign")


def test_a_root_without_a_witness_does_not_undo_the_pin(shop, device):
    shop.make_root(witnessed=False)
    shop.publish(entry(2))
    refused(shop, device, "the witness that is pinned did not sign")


def test_the_witness_stays_when_the_brand_gets_another_key(shop, device):
    create_keys(shop.home / "next")
    brand, witness = (load_public(shop.home / f"{name}.pub") for name in ("next", "witness"))
    write_root(shop.list, shop.signer("root"), brand, witness, time.time())
    shutil.copy(shop.home / "next.pem", shop.home / "brand.pem")
    shop.both(entry(2))
    shop.fetch(device)
    assert titles(device) == ["task 1", "task 2"]


def test_a_root_that_the_root_key_did_not_sign_is_refused(shop, device, tmp_path):
    thief = Publisher(tmp_path / "thief")
    thief.make_root(witnessed=True)
    thief.both(entry(2))
    shutil.copy(thief.list.metadata / "2.root.json", shop.list.metadata / "2.root.json")
    refused(shop, device, "root was signed by 0/1 keys")


# Brand and witness together: the device still keeps what it saw


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], "entry 1 is missing"),
        ([entry(2)], "entry 1 is not the one"),
        ([entry(1, title="task one")], "entry 1 is not the one"),
        ([entry(2), entry(1)], "entry 1 is not the one"),
    ],
    ids=["removed", "replaced", "changed", "moved"],
)
def test_a_list_that_lacks_an_entry_is_refused_whoever_signed_it(entries, reason, shop, device):
    """A witness that forgets what it signed is no protection, and the device's own memory is."""
    shop.list.targets.rename(shop.home / "old-targets")
    for path in (*shop.list.metadata.glob("*.targets.json"),):
        path.unlink()
    forge(shop, entries)
    refused(shop, device, reason)


def forge(shop: Publisher, entries: list) -> None:
    """Sign a list of these entries with both keys, as the next version of everything."""
    named = shop.list.write_list(PublishedList(entries=tuple(entries)))
    targets = sign(Targets(9, expires=after(time.time(), 30)), shop.signer("brand"))
    targets.signed.targets = {LIST_FILE: named}
    targets.sign(shop.signer("brand"))
    targets.sign(shop.signer("witness"), append=True)
    shop.list.write_metadata(targets)
    for role in ("snapshot", "timestamp"):
        path = shop.list.metadata / ("timestamp.json" if role == "timestamp" else "1.snapshot.json")
        metadata = Metadata.from_file(str(path))
        metadata.signed.version = 9
        meta = metadata.signed.snapshot_meta if role == "timestamp" else metadata.signed.meta["targets.json"]
        meta.version = 9
        metadata.sign(shop.signer("brand"))
        shop.list.write_metadata(metadata)


# Split views and withheld notices


def show(shop: Publisher, source: Path) -> None:
    """Go on with a copy of the list in its place."""
    shutil.rmtree(shop.list.path)
    shutil.copytree(source, shop.list.path)


def forked(shop: Publisher) -> tuple[Path, Path]:
    """Two lists that the brand signed at the same time, for two audiences."""
    other = shop.copy("other")
    shop.publish(entry(2))
    mine = shop.copy("mine")
    show(shop, other)
    shop.publish(entry(3))
    return mine, shop.copy("theirs")


def test_without_a_witness_a_brand_and_its_server_can_show_two_lists(tmp_path):
    """Not a defence but its absence: docs/security.md says so, and `terry task verify` as well."""
    shop = Publisher(tmp_path / "shop", witnessed=False)
    shop.publish(entry(1))
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    for device, source in zip((alice, bob), forked(shop), strict=True):
        shop.pin(device, witness=False)
        shop.fetch(device, source)
    assert titles(alice) == ["task 1", "task 2"]
    assert titles(bob) == ["task 1", "task 3"]
    show(shop, tmp_path / "shop" / "mine")  # to go on, each device must be shown its own list for ever
    shop.publish(entry(4))
    refused(shop, bob, "entry 2 is not the one")


def test_with_a_witness_only_one_of_two_lists_can_be_shown(shop, tmp_path):
    mine, theirs = forked(shop)
    for source, signed in ((mine, True), (theirs, False)):
        show(shop, source)
        device = tmp_path / source.name
        shop.pin(device)
        if signed:
            shop.witness()
            shop.fetch(device)
            assert titles(device) == ["task 1", "task 2"]
        else:
            with pytest.raises(UserError, match="entry 2 is not the one"):
                shop.witness()
            refused(shop, device, "targets was signed by 1/2 keys")


def test_a_withheld_notice_shows(shop, device, tmp_path):
    """A device that is shown the list without it can get no later one, and what it has expires."""
    without = shop.copy("without")
    shop.both(notice("an incident"))
    late = tmp_path / "late"
    shop.pin(late)
    shop.fetch(late, without)
    assert titles(late) == ["task 1"]  # until its signatures expire, as docs/security.md says
    show(shop, without)
    shop.publish(entry(2))  # the list goes on as if there had been no notice
    with pytest.raises(UserError, match="entry 2 is not the one"):
        shop.witness()
    refused(shop, late, "targets was signed by 1/2 keys")
    refused(shop, device, "targets was signed by 1/2 keys")
    assert TaskList.open(late).kept.expires < time.time() + 30 * DAY + 60


# Pins


def test_without_a_pin_nothing_is_fetched(shop, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(UnusableList, match="no root is pinned"):
        fetch(tmp_path / "new", str(shop.list.path), time.time())


def test_a_pin_is_not_replaced(shop, device, tmp_path):
    other = Publisher(tmp_path / "other")
    for witness in (True, False):
        with pytest.raises(UnusableList, match="is pinned: remove the folder"):
            other.pin(device, witness=witness)
    with pytest.raises(UnusableList, match=r"witness\.pub is pinned"):
        shop.pin(device, witness=False)
    shop.pin(device)  # the same again


def test_what_cannot_be_pinned(shop, tmp_path):
    root = (shop.list.metadata / "1.root.json").read_bytes()
    values = json.loads(root)
    values["signed"]["expires"] = "2099-01-01T00:00:00Z"
    for broken in (
        b"",
        b"{}",
        json.dumps(values).encode(),
        (shop.list.metadata / "timestamp.json").read_bytes(),
    ):
        with pytest.raises(UnusableList, match="not one that its own keys signed"):
            pin(tmp_path / "new", broken, None)
    with pytest.raises(UnusableList, match="must be in PEM"):
        pin(tmp_path / "new", root, b"key")
    assert not (tmp_path / "new").exists()


def test_what_a_device_keeps_is_for_its_owner_only(device):
    for path in (device / "tasks").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_keys_load_as_they_were_written(shop):
    assert load_signer(shop.home / "brand.pem").public_key == load_public(shop.home / "brand.pub")
    assert (shop.home / "brand.pem").stat().st_mode & 0o077 == 0
