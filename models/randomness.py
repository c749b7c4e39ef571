"""Keyed randomness: every draw comes from a ChaCha20 stream named by (key, device, round, step, purpose).

A device draws the same coins, batches, negatives and noise whichever trainer, thread, chunk, node or engine
it runs in, and a resumed run goes on exactly. The key is 256 bits from the operating system; ChaCha20
(RFC 8439) is a stream cipher, so no amount of noise seen tells anything of the noise not yet seen. PyTorch's
own CPU generator keeps only 32 bits of its seed and is a Mersenne Twister: it carries no promise here.

Gaussian draws are the quantile function of 52-bit uniforms, added in double precision and rounded once to
single. Every single-precision result near the middle of the distribution is then reachable from every input
(2⁵² noise values against 2²⁴ results a binade), which closes the gaps that Mironov (2012, "On significance of
the least significant bits for differential privacy") counts in single-precision noise. What is left: the
tail beyond 8.2 σ is missing (probability 2⁻⁵²), and no proof covers the rounding itself.
"""

import secrets
import struct
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy.special import ndtri

KEY_BYTES = 32

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Purpose(IntEnum):
    """What a stream is for; two purposes never share a draw."""

    PARTICIPATION = 1
    BATCH = 2
    NEGATIVES = 3
    NOISE = 4


def new_key() -> bytes:
    """A fresh secret key from the operating system."""
    return secrets.token_bytes(KEY_BYTES)


def seeded_key(seed: int) -> bytes:
    """A repeatable key. Whoever knows the seed can subtract the noise: nothing seeded is private."""
    return b"terrycloth seeded run: not secret"[: KEY_BYTES - 8] + struct.pack("<Q", seed)


class Stream:
    """Uniform and Gaussian draws, in order, from one named ChaCha20 stream."""

    def __init__(self, key: bytes, *, round: int, purpose: Purpose, device: int = 0, step: int = 0) -> None:
        # RFC 8439, section 2.3: a 32-bit block counter, then a 96-bit nonce that must never repeat.
        nonce = struct.pack("<IIIHH", 0, device, round, step, purpose)
        self._encryptor = Cipher(ChaCha20(key, nonce), mode=None).encryptor()

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """Uniform 64-bit words: [count]."""
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), dtype="<u8")

    def uniforms(self, count: int) -> Doubles:
        """Uniform in the open interval (0, 1), on the midpoints of 2⁵² cells: [count]."""
        # The midpoint of each cell is itself a double, so neither 0 nor 1 is ever drawn.
        cells = (self.words(count) >> np.uint64(12)).astype(np.float64)
        return np.asarray((cells + 0.5) * 2.0**-52, dtype=np.float64)

    def integers(self, count: int, below: int) -> Integers:
        """Uniform in 0 … below − 1 (bias under below · 2⁻⁵²): [count]."""
        return (self.uniforms(count) * below).astype(np.int64)

    def normals(self, count: int) -> Doubles:
        """Standard Gaussian: [count]."""
        return np.asarray(ndtri(self.uniforms(count)), dtype=np.float64)
