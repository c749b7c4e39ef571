"""A node's long-term identity: the ECDSA key by which other nodes know it.

The SuperNode authenticates with the same key. Statements that are signed here start with the protocol's own
name, so no signature is valid for both uses. `ssh-keygen -t ecdsa -b 384 -f KEY` creates such a key.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from terrycloth.models.errors import UserError
from terrycloth.models.secure_aggregation.messages import fingerprint
from terrycloth.models.secure_aggregation.roster import HASHES, public_bytes


@dataclass(frozen=True)
class Identity:
    """An ECDSA private key on P-256 or P-384."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Identity":
        """Read an OpenSSH private key file without a passphrase. Raises UserError for any other file."""
        try:
            key = load_ssh_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
            raise UserError(f"cannot read {path} as an OpenSSH private key without a passphrase") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in HASHES:
            raise UserError(f"{path} is not an ECDSA key on P-256 or P-384: use ssh-keygen -t ecdsa -b 384")
        return cls(key)

    @classmethod
    def new(cls) -> "Identity":
        """Create an identity on P-256, whose signatures are the cheapest to verify: for simulations."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def save(self, path: Path) -> None:
        """Write the private key, readable by its owner only. Raises FileExistsError if the file exists."""
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))

    @property
    def public(self) -> bytes:
        """The public key in OpenSSH form, as it stands in a roster."""
        return public_bytes(self.key.public_key())

    @property
    def name(self) -> str:
        """The participant's name: the fingerprint of its public key."""
        return fingerprint(self.public)

    def sign(self, statement: bytes) -> bytes:
        """Return the ECDSA signature of a statement (messages.py builds the statements)."""
        return self.key.sign(statement, ec.ECDSA(HASHES[self.key.curve.name]))
