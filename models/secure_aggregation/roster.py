"""The roster: which identities may take part, and for how many devices each may stand.

An identity is an ECDSA key on P-256 or P-384 in OpenSSH form, the kind with which Flower's SuperNodes
authenticate (`ssh-keygen -t ecdsa -b 384`). The roster is a file of public key lines, as in authorized_keys.
A line also gives the number of devices behind the identity, unless it is 1:

    ecdsa-sha2-nistp384 AAAAE2Vj… devices=12 towels-north

The roster comes from the owner of the devices, never from the server, which could invent nodes and be their
neighbour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from terrycloth.models.errors import UserError
from terrycloth.models.secure_aggregation.messages import MOST_DEVICES, fingerprint

DEVICES = b"devices="

ROSTER_FILE = "roster"  # in the folder of a device group
HASHES: dict[str, hashes.HashAlgorithm] = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384()}


@dataclass(frozen=True)
class Roster:
    """The identities that may take part.

    devices: the most devices that an identity may stand for, by its name.
    """

    devices: Mapping[str, int]

    @classmethod
    def load(cls, path: Path) -> "Roster":
        """Read a file of public key lines. Empty lines and lines that start with # are skipped.

        Raises UserError on any other line, and on a key that is listed twice.
        """
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            raise UserError(
                f"cannot read the roster {path}: it must be a file of OpenSSH public keys"
            ) from None
        devices: dict[str, int] = {}
        for number, line in enumerate(map(bytes.strip, lines), start=1):
            if not line or line.startswith(b"#"):
                continue
            try:
                name = fingerprint(public_bytes(load_identity(line)))
            except ValueError:
                message = f"line {number} of {path} is not an ECDSA public key on P-256 or P-384"
                raise UserError(f"{message}: make one with ssh-keygen -t ecdsa -b 384") from None
            if name in devices:
                raise UserError(f"line {number} of {path} repeats a key: keep one line per key")
            try:
                devices[name] = devices_of(line)
            except ValueError:
                message = f"line {number} of {path} has an invalid number of devices"
                raise UserError(f"{message}: use devices=1 to devices={MOST_DEVICES}, once") from None
        return cls(devices)

    def __contains__(self, name: str) -> bool:
        return name in self.devices


def devices_of(line: bytes) -> int:
    """Return the devices behind the identity of a roster's line, by default 1. Raises ValueError."""
    _, _, *comment = line.split(maxsplit=2)
    given = [field for field in b"".join(comment).split() if field.startswith(DEVICES)]
    if not given:
        return 1
    (field,) = given
    digits = field.removeprefix(DEVICES)
    devices = int(digits) if digits.isdigit() else 0
    if not 1 <= devices <= MOST_DEVICES:
        raise ValueError("number of devices out of range")
    return devices


def load_identity(line: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a public key line. Raises ValueError unless it is ECDSA on P-256 or P-384."""
    try:
        key = load_ssh_public_key(line)
    except Exception:  # bytes that are not a key fail in many ways, and a server must survive all
        raise ValueError("unreadable key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise ValueError("an identity must be an ECDSA key on P-256 or P-384")
    return key


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the key in OpenSSH form without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


# A pure function, cached because a simulation runs all n nodes in one process and makes each call n times.
@lru_cache(maxsize=4096)
def signed_by(identity: bytes, signature: bytes, statement: bytes) -> bool:
    """Return whether the identity signed the statement; False if the bytes are no identity."""
    try:
        key = load_identity(identity)
        # One key must not have two names, as the same key with a comment would.
        if public_bytes(key) != identity:
            return False
        key.verify(signature, statement, ec.ECDSA(HASHES[key.curve.name]))
    except (ValueError, InvalidSignature):
        return False
    return True
