"""Keys between two nodes: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439).

The view, a digest of the task and of all adverts, salts every key. So a key serves one session, and only
nodes that were shown the same adverts. Its info names the purpose and, for a key between two nodes, both of
them.
"""

import hashlib
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from terrycloth.models.secure_aggregation.messages import ProtocolError, statement

KEY_BYTES = 32
NONCE_BYTES = 12
SEALED_BYTES = NONCE_BYTES + 2 * KEY_BYTES + 16  # nonce, two shares, tag


def new_private_key() -> bytes:
    """Return 32 bytes from the operating system. Every such string is an X25519 private key."""
    return os.urandom(KEY_BYTES)


def public_key(private: bytes) -> bytes:
    """Return the X25519 public key of a private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


@lru_cache(maxsize=4096)
def usable(public: bytes) -> bool:
    """Return whether key agreement works with this public key: 32 bytes, and not of small order."""
    try:
        _agree(bytes(KEY_BYTES), public)
    except ProtocolError:
        return False
    return True


def commitment(seed: bytes) -> bytes:
    """Return a digest that commits to a seed of 32 random bytes without revealing it."""
    return hashlib.sha256(statement("seed", seed)).digest()


def own_mask_key(seed: bytes, view: bytes) -> bytes:
    """Derive the key of a node's own mask."""
    return _derive(seed, view, statement("own mask"))


def pairwise_mask_key(private: bytes, public: bytes, view: bytes, names: tuple[str, str]) -> bytes:
    """Derive the key of the mask that two nodes share. Either side derives the same key."""
    return _derive(_agree(private, public), view, statement("pairwise mask", *sorted(names)))


def seal(private: bytes, public: bytes, view: bytes, sender: str, recipient: str, shares: bytes) -> bytes:
    """Encrypt shares (64 bytes) from sender to recipient.

    The key is used for one message, and the nonce is random.
    """
    info = statement("shares", sender, recipient)
    nonce = os.urandom(NONCE_BYTES)
    key = _derive(_agree(private, public), view, info)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, shares, info)


def unseal(private: bytes, public: bytes, view: bytes, sender: str, recipient: str, sealed: bytes) -> bytes:
    """Decrypt what `seal` encrypted.

    Raises ProtocolError if the sender, the recipient, the view or any bit of it differs.
    """
    info = statement("shares", sender, recipient)
    key = _derive(_agree(private, public), view, info)
    if len(sealed) != SEALED_BYTES:
        raise ProtocolError("wrong ciphertext size")
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], info)
    except InvalidTag:
        raise ProtocolError("ciphertext not meant for this node") from None


def _agree(private: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:
        raise ProtocolError("unusable public key") from None


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
