"""Who may take part, and for how many devices: the identities that the owner of the devices has listed.

An identity is an ECDSA key on P-256 or P-384 in OpenSSH form, as Flower's SuperNodes authenticate with
(`ssh-keygen -t ecdsa -b 384`). The roster is a file of public key lines, as in authorized_keys, each with the
number of devices behind that identity where it is not one:

    ecdsa-sha2-nistp384 AAAAE2Vj… devices=12 towels-north

It comes from the owner of the devices, never from the server, which could invent nodes and be their
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

HASHES: dict[str, hashes.HashAlgorithm] = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384()}


@dataclass(frozen=True)
class Roster:
    """devices: by the name of an identity, the most devices that it may stand for."""

    devices: Mapping[str, int]

    @classmethod
    def load(cls, path: Path) -> "Roster":
        """Read a file of public key lines; empty lines and lines that start with # are skipped.

        Raises UserError on any other line, and on a key that was listed before.
        """
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            raise UserError(f"cannot read the roster {path}: give a file of OpenSSH public keys") from None
        devices: dict[str, int] = {}
        for number, line in enumerate(map(bytes.strip, lines), start=1):
            if not line or line.startswith(b"#"):
                continue
            try:
                name = fingerprint(public_bytes(load_identity(line)))
            except ValueError:
                message = f"line {number} of {path} is no ECDSA public key on P-256 or P-384"
                raise UserError(f"{message}: make one with ssh-keygen -t ecdsa -b 384") from None
            if name in devices:
                raise UserError(f"line {number} of {path} lists a key again: keep one line of each")
            try:
                devices[name] = devices_of(line)
            except ValueError:
                message = f"line {number} of {path} has a number of devices that is none"
                raise UserError(f"{message}: say devices=1 to devices={MOST_DEVICES}, once") from None
        return cls(devices)

    def __contains__(self, name: str) -> bool:
        return name in self.devices


def devices_of(line: bytes) -> int:
    """Devices behind the identity of a roster's line: 1 unless said. Raises ValueError."""
    _, _, *comment = line.split(maxsplit=2)
    said = [field for field in b"".join(comment).split() if field.startswith(DEVICES)]
    if not said:
        return 1
    (field,) = said
    digits = field.removeprefix(DEVICES)
    devices = int(digits) if digits.isdigit() else 0
    if not 1 <= devices <= MOST_DEVICES:
        raise ValueError("number of devices out of range")
    return devices


def load_identity(line: bytes) -> ec.EllipticCurvePublicKey:
    """A public key line as a key. Raises ValueError unless it is ECDSA on P-256 or P-384."""
    try:
        key = load_ssh_public_key(line)
    except Exception:  # bytes that are no key fail in many ways, which a server must survive
        raise ValueError("no key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise ValueError("an identity is an ECDSA key on P-256 or P-384")
    return key


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """OpenSSH form without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


# A pure function of its arguments. A simulation runs all nodes in one process and asks it n times the same.
@lru_cache(maxsize=4096)
def signed_by(identity: bytes, signature: bytes, statement: bytes) -> bool:
    """Whether `signature` of `statement` is by the identity. False, too, for bytes that are no identity."""
    try:
        key = load_identity(identity)
        # One key must not go by two names, as the same key with a comment would.
        if public_bytes(key) != identity:
            return False
        key.verify(signature, statement, ec.ECDSA(HASHES[key.curve.name]))
    except (ValueError, InvalidSignature):
        return False
    return True
