"""The brand signs its list, and the witness only one that extends the last one that it signed."""

import json
import shutil
import time
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from terrycloth.experiments.tasks.keys import create_keys, load_public, load_signer
from terrycloth.experiments.tasks.publish import write_root
from terrycloth.experiments.tasks.witness import check_record, read_record
from terrycloth.models.errors import UserError
from terrycloth.models.times import DAY, moment
from tests.published import Publisher, entry, notice


@pytest.fixture
def shop(tmp_path) -> Publisher:
    """A list of two entries that both signed, and a third that the brand has signed."""
    publisher = Publisher(tmp_path / "shop")
    publisher.both(entry(1))
    publisher.both(notice("an incident"))
    publisher.publish(entry(3))
    return publisher


def signatures(shop: Publisher) -> int:
    return len(shop.list.newest(Targets.type).signatures)


def refuses(shop: Publisher, reason: str, **changes: object) -> None:
    """The witness refuses, in one line: it signs nothing, and remembers what it remembered."""
    record = shop.record.read_bytes()
    before = signatures(shop)
    with pytest.raises(UserError, match=reason) as raised:
        shop.witness(**changes)
    assert "\n" not in str(raised.value)
    assert signatures(shop) == before
    assert shop.record.read_bytes() == record


def test_a_list_that_extends_the_last_one_is_signed(shop):
    assert signatures(shop) == 1
    assert shop.witness() == 3
    assert signatures(shop) == 2
    assert shop.witness() == 3  # again, as after a crash
    assert json.loads(shop.record.read_text())["version"] == 3


def test_a_list_that_is_signed_anew_is_signed(shop):
    shop.witness()
    assert shop.publish(None) == 3
    assert shop.witness() == 3


def test_a_list_that_lacks_what_was_signed_is_refused(shop):
    shop.witness()
    back(shop, 2)
    shop.publish(entry(4))
    refuses(shop, "entry 3 is not the one that an earlier list had")


def test_an_older_list_is_refused(shop):
    shop.witness()
    back(shop, 2)
    refuses(shop, "entry 3 is missing")


def back(shop: Publisher, version: int) -> None:
    """Leave nothing newer than this version of the targets in the folder."""
    for path in shop.list.metadata.glob("*.targets.json"):
        if int(path.name.split(".")[0]) > version:
            path.unlink()


def test_an_older_version_of_the_same_list_is_refused(shop):
    shop.witness()
    shop.publish(None)
    shop.witness()
    back(shop, 3)
    refuses(shop, "version 4 of the list was signed already")


def test_two_lists_of_one_version_are_not_both_signed(shop):
    """The second extends the first, and could be served in its place under its number."""
    shop.witness()
    record = read_record(shop.record)
    longer = record.published.with_entry(entry(4))
    check_record(record, 4, longer)
    with pytest.raises(UserError, match="version 3 of the list was signed already"):
        check_record(record, 3, longer)


def test_what_the_brand_did_not_sign_is_refused(shop):
    path = shop.list.metadata / "3.targets.json"
    targets = Metadata[Targets].from_file(str(path))
    targets.sign(shop.signer("root"))
    path.write_bytes(targets.to_bytes())
    refuses(shop, "the brand did not sign this list")


def test_a_witness_that_is_not_named_signs_nothing(shop):
    create_keys(shop.home / "other")
    shutil.copy(shop.home / "other.pem", shop.home / "witness.pem")
    refuses(shop, "does not name this witness")


@pytest.mark.parametrize(
    ("days", "reason"), [(-3.0, "entry 4 is dated before the last signature"), (1.1, "into the future")]
)
def test_a_false_date_is_refused(days, reason, shop):
    shop.witness()
    shop.publish(entry(4, published=moment(time.time() + days * DAY)))
    refuses(shop, reason)


@pytest.mark.parametrize("days", [-0.9, 0.9])
def test_clocks_may_differ_by_a_day(days, shop):
    shop.publish(entry(4, published=moment(time.time() + days * DAY)))
    assert shop.witness() == 4


def test_a_list_that_was_changed_is_refused(shop):
    target = shop.list.newest(Targets.type).signed.targets["list.json"]
    path = shop.list.targets / f"{target.hashes['sha256']}.list.json"
    path.write_bytes(path.read_bytes().replace(b"task 3", b"task 9"))
    refuses(shop, "is not the list that was signed")


def test_a_root_that_another_key_signed_is_not_followed(shop, tmp_path):
    thief = Publisher(tmp_path / "thief")
    thief.make_root(witnessed=True)
    shutil.copy(thief.list.metadata / "2.root.json", shop.list.metadata / "2.root.json")
    refuses(shop, "not signed by the one before")
    (shop.list.metadata / "2.root.json").unlink()
    shutil.copy(thief.list.metadata / "1.root.json", shop.list.metadata / "1.root.json")
    refuses(shop, "not the one that was followed last")


def test_a_record_that_is_lost_or_damaged_is_said(shop):
    shop.record.write_bytes(b"{}")
    refuses(shop, "is not the record of a witness")
    with pytest.raises(UserError, match="is not a folder"):
        shop.witness(record=Path("/nowhere/record.json"))


# The brand


def test_the_brand_adds_to_what_it_signed_itself_only(shop):
    path = shop.list.metadata / "3.targets.json"
    targets = Metadata[Targets].from_file(str(path))
    targets.sign(shop.signer("root"))
    path.write_bytes(targets.to_bytes())
    with pytest.raises(UserError, match="not signed by its brand"):
        shop.publish(entry(4))


def test_a_task_is_published_once(shop):
    with pytest.raises(UserError, match="in the list already, at place 1: use --renew"):
        shop.publish(entry(1))
    assert shop.list.version(Targets.type) == 3


def test_keys_are_not_swapped(shop):
    shutil.copy(shop.home / "root.pem", shop.home / "brand.pem")
    with pytest.raises(UserError, match="not the brand key"):
        shop.publish(entry(4))
    brand, witness = (load_public(shop.home / f"{name}.pub") for name in ("brand", "witness"))
    with pytest.raises(UserError, match="not the root key"):
        write_root(shop.list, load_signer(shop.home / "witness.pem"), brand, None, time.time())
    with pytest.raises(UserError, match="need a key each"):
        write_root(shop.list, shop.signer("root"), brand, brand, time.time())
    assert witness != brand


def test_an_empty_list_is_not_signed_anew(tmp_path):
    with pytest.raises(UserError, match="nothing to sign anew"):
        Publisher(tmp_path / "new").publish(None)


def test_keys_are_never_overwritten(shop):
    before = (shop.home / "brand.pem").read_bytes()
    with pytest.raises(UserError, match="exists: choose another name"):
        create_keys(shop.home / "brand")
    assert (shop.home / "brand.pem").read_bytes() == before


def test_what_is_published_is_readable_by_everybody(shop):
    for path in shop.list.path.rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444, path
