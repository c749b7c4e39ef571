"""Secrets of 32 bytes in shares (Shamir 1979), by pycryptodome: polynomials over GF(2¹²⁸), two halves."""

from collections.abc import Sequence

from Crypto.Protocol.SecretSharing import Shamir

from terrycloth.models.secure_aggregation.keys import KEY_BYTES

HALF = 16
SHARE_BYTES = KEY_BYTES


def split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    """A share of 32 bytes for each holder, of which `threshold` give the secret: [holders].

    Holder number k, from 0, has the polynomials' values at k + 1.
    """
    first = Shamir.split(threshold, holders, secret[:HALF], False)
    second = Shamir.split(threshold, holders, secret[HALF:], False)
    return [a + b for (_, a), (_, b) in zip(first, second, strict=True)]


def combine(shares: Sequence[tuple[int, bytes]]) -> bytes:
    """The secret from exactly `threshold` pairs of holder's number and share.

    A wrong share gives a wrong secret, with no warning: check it against what its owner advertised.
    """
    first = Shamir.combine([(holder + 1, share[:HALF]) for holder, share in shares], False)
    second = Shamir.combine([(holder + 1, share[HALF:]) for holder, share in shares], False)
    return bytes(first + second)
