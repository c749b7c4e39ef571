"""Shares of 32-byte secrets (Shamir 1979), by pycryptodome.

The polynomials are over GF(2¹²⁸), one for each half of the secret.
"""

from collections.abc import Sequence

from Crypto.Protocol.SecretSharing import Shamir

from terrycloth.models.secure_aggregation.keys import KEY_BYTES

HALF = 16
SHARE_BYTES = KEY_BYTES


def split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    """Return one share of 32 bytes per holder; any `threshold` of them give the secret: [holders].

    Holder number k, counted from 0, gets the polynomials' values at k + 1.
    """
    first = Shamir.split(threshold, holders, secret[:HALF], False)
    second = Shamir.split(threshold, holders, secret[HALF:], False)
    return [a + b for (_, a), (_, b) in zip(first, second, strict=True)]


def combine(shares: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the secret from exactly `threshold` pairs of holder's number and share.

    A wrong share gives a wrong secret without any warning. Check the secret against what its owner
    advertised.
    """
    first = Shamir.combine([(holder + 1, share[:HALF]) for holder, share in shares], False)
    second = Shamir.combine([(holder + 1, share[HALF:]) for holder, share in shares], False)
    return bytes(first + second)
