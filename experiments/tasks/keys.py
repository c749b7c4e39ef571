"""Keys that sign a list of published tasks: one file each for the private and the public half."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError


def create_keys(path: Path) -> tuple[Path, Path]:
    """Write a new Ed25519 key pair as path.pem (private, mode 0600) and path.pub, and return both paths.

    Raises UserError if either file exists.
    """
    private, public = path.with_name(path.name + ".pem"), path.with_name(path.name + ".pub")
    for each in (private, public):
        if each.exists():
            raise UserError(f"{each} exists: choose another name, because a lost key cannot be replaced")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is not a folder: create it, or choose another place for the keys")
    signer = CryptoSigner.generate_ed25519()
    write_private(private, signer.private_bytes)
    half = load_pem_private_key(signer.private_bytes, None).public_key()
    public.write_bytes(half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def load_signer(path: Path) -> CryptoSigner:
    """Read a private key. Raises UserError."""
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(
            f"{path} is not a private key without a password: name the file NAME.pem of terry task keys"
        ) from None


def load_public(path: Path) -> SSlibKey:
    """Read a public key. Raises UserError."""
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise UserError(f"{path} is not a public key: name the file NAME.pub of terry task keys") from None
