"""Identity files have the format that ssh-keygen writes."""

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from terrycloth.client.secure.identity import Identity
from terrycloth.models.errors import UserError
from terrycloth.models.secure_aggregation.messages import MOST_DEVICES
from terrycloth.models.secure_aggregation.roster import Roster, signed_by


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_a_public_key_verifies_what_its_identity_signs(curve: ec.EllipticCurve) -> None:
    identity = Identity(ec.generate_private_key(curve))
    signature = identity.sign(b"a statement")
    assert signed_by(identity.public, signature, b"a statement")
    assert not signed_by(identity.public, signature, b"another statement")
    assert not signed_by(Identity.new().public, signature, b"a statement")
    assert identity.name == hashlib.sha256(identity.public).hexdigest()


def test_a_saved_identity_loads_unchanged_and_is_private(tmp_path: Path) -> None:
    identity = Identity.new()
    identity.save(tmp_path / "key")
    assert Identity.load(tmp_path / "key").name == identity.name
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        Identity.new().save(tmp_path / "key")


def test_an_identity_does_not_print_its_private_key() -> None:
    assert repr(Identity.new()) == "Identity()"


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(UserError, match="cannot read"):
        Identity.load(path)
    path.write_text("no key")
    with pytest.raises(UserError, match="cannot read"):
        Identity.load(path)
    other = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(UserError, match="P-256 or P-384"):
        Identity.load(path)
    large = ec.generate_private_key(ec.SECP521R1())
    path.write_bytes(large.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(UserError, match="P-256 or P-384"):
        Identity.load(path)


def test_a_public_key_line_makes_a_roster(tmp_path: Path) -> None:
    first, second = Identity.new(), Identity(ec.generate_private_key(ec.SECP384R1()))
    path = tmp_path / "roster"
    path.write_bytes(b"# our devices\n\n" + first.public + b" a comment\n  " + second.public + b"\n")
    roster = Roster.load(path)
    assert roster.devices == {first.name: 1, second.name: 1}
    assert Identity.new().name not in roster


@pytest.mark.parametrize(
    ("comment", "devices"),
    [
        (b"", 1),
        (b" devices=12", 12),
        (b" till-3 devices=12 at the door", 12),
        (b" my-devices=7", 1),
        (b" devices=%d" % MOST_DEVICES, MOST_DEVICES),
    ],
)
def test_a_line_of_a_roster_may_give_a_number_of_devices(
    comment: bytes, devices: int, tmp_path: Path
) -> None:
    identity = Identity.new()
    (tmp_path / "roster").write_bytes(identity.public + comment)
    assert Roster.load(tmp_path / "roster").devices == {identity.name: devices}


@pytest.mark.parametrize(
    "comment",
    [
        b"devices=0",
        b"devices=-1",
        b"devices=",
        b"devices=many",
        b"devices=1.5",
        b"devices=1_0",
        b"devices=%d" % (MOST_DEVICES + 1),
        b"devices=" + 5000 * b"9",
        b"devices=2 devices=3",
    ],
    ids=lambda comment: comment[:24].decode(),
)
def test_an_invalid_number_of_devices_is_refused(comment: bytes, tmp_path: Path) -> None:
    path = tmp_path / "roster"
    path.write_bytes(Identity.new().public + b"\n" + Identity.new().public + b" " + comment)
    with pytest.raises(UserError, match=r"line 2 .* number of devices"):
        Roster.load(path)


def test_a_roster_that_lists_a_key_twice_is_refused(tmp_path: Path) -> None:
    """With two lines and two numbers of devices it would be unclear which one the owner meant."""
    path = tmp_path / "roster"
    path.write_bytes(b"%s devices=2\n%s devices=3" % (2 * (Identity.new().public,)))
    with pytest.raises(UserError, match=r"line 2 .* repeats a key"):
        Roster.load(path)


def test_a_roster_with_a_line_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roster"
    with pytest.raises(UserError, match="cannot read the roster"):
        Roster.load(path)
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    for line in (b"no key", key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)):
        path.write_bytes(Identity.new().public + b"\n" + line + b"\n")
        with pytest.raises(UserError, match="line 2"):
            Roster.load(path)


def test_a_key_with_a_comment_or_an_invalid_key_verifies_nothing() -> None:
    identity = Identity.new()
    signature = identity.sign(b"a statement")
    assert not signed_by(identity.public + b" comment", signature, b"a statement")
    assert not signed_by(b"no key", signature, b"a statement")
