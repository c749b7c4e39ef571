"""Keyed randomness: every draw comes from a ChaCha20 stream named by (key, device, round, step, purpose).

A device makes the same draws (participation, batches, negatives, noise) in whichever trainer, thread, chunk,
node or engine it runs, and a resumed run continues exactly. The key is 256 bits from the operating system.
ChaCha20 (RFC 8439) is a stream cipher, so no amount of observed noise reveals anything about noise not yet
seen. PyTorch's own CPU generator keeps only 32 bits of its seed and is a Mersenne Twister: no promise here
rests on it.

Floating point. Noise drawn and added in floating point leaves gaps, by which a result can reveal its input
(Mironov 2012, "On significance of the least significant bits for differential privacy"). Here a Gaussian draw
is the quantile function of a 63-bit uniform, with a separate random sign. It is added in double precision,
and the noised value is rounded to a public grid, the power of two below σC/1024. About 2⁴² different draws
hit a cell of that grid near the middle, and 2²⁴ at five deviations. So its probability is that of the ideal
Gaussian to one part in 10¹² and 10⁷ respectively: over 100,000 coordinates, a privacy loss of about 10⁻⁶
beside ε. That is an estimate, not a proof. The discrete noise of distributed trust needs no such estimate,
because it is exact.
"""

import math
import secrets
import struct
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy.special import ndtri
from torch import Tensor

KEY_BYTES = 32
CHUNK = 2**18  # numbers for which noise is drawn at a time

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Purpose(IntEnum):
    """What a stream is for. Two purposes never share a draw."""

    PARTICIPATION = 1
    BATCH = 2
    NEGATIVES = 3
    NOISE = 4
    DEVICE_NOISE = 5  # for all devices of a device group at once
    CENTRAL_NOISE = 6
    LAZY_NOISE = 7  # for a device's steps, drawn when its later steps read it


def new_key() -> bytes:
    """Return a fresh secret key from the operating system."""
    return secrets.token_bytes(KEY_BYTES)


def seeded_key(seed: int) -> bytes:
    """Return a repeatable key.

    Nothing seeded is private, because anyone who knows the seed can subtract the noise.
    """
    return b"terrycloth seeded run: not secret"[: KEY_BYTES - 8] + struct.pack("<Q", seed)


class Stream:
    """Uniform and Gaussian draws, in order, from one named ChaCha20 stream."""

    def __init__(self, key: bytes, *, round: int, purpose: Purpose, device: int = 0, step: int = 0) -> None:
        # RFC 8439, section 2.3: a 32-bit block counter, then a 96-bit nonce that must never repeat.
        nonce = struct.pack("<IIIHH", 0, device, round, step, purpose)
        self._encryptor = Cipher(ChaCha20(key, nonce), mode=None).encryptor()

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """Draw uniform 64-bit words: [count]."""
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), dtype="<u8")

    def uniforms(self, count: int) -> Doubles:
        """Draw uniformly from the open interval (0, 1), on the midpoints of 2⁵² cells: [count]."""
        # The midpoint of each cell is itself a double, so neither 0 nor 1 is ever drawn.
        cells = (self.words(count) >> np.uint64(12)).astype(np.float64)
        return np.asarray((cells + 0.5) * 2.0**-52, dtype=np.float64)

    def integers(self, count: int, below: int) -> Integers:
        """Draw uniformly from 0 … below − 1 (bias under below · 2⁻⁵²): [count]."""
        return (self.uniforms(count) * below).astype(np.int64)

    def normals(self, count: int) -> Doubles:
        """Draw standard Gaussians, as far as 9.2 σ: [count]."""
        words = self.words(count)
        # Draw the lower half, where doubles are finest, and a sign: both tails get the same resolution.
        lower = ((words >> np.uint64(1)).astype(np.float64) + 0.5) * 2.0**-64
        return np.asarray(np.where(words & np.uint64(1), -1.0, 1.0) * ndtri(lower), dtype=np.float64)


def add_noise(value: Tensor, deviation: float, stream: Stream) -> Tensor:
    """Add Gaussian noise of standard deviation `deviation` to every coordinate of `value`: float32.

    It is added in double precision and rounded to the public grid that the module's docstring explains.
    """
    flat, noised = value.reshape(-1), torch.empty(value.numel())
    for start in range(0, len(flat), CHUNK):
        part = flat[start : start + CHUNK].double()
        drawn = torch.from_numpy(stream.normals(len(part)))
        noised[start : start + CHUNK] = on_grid(part + deviation * drawn, deviation)
    return noised.view_as(value)


def on_grid(noised: Tensor, deviation: float) -> Tensor:
    """Round to multiples of the power of two below deviation / 1024."""
    step = 2.0 ** (math.floor(math.log2(deviation)) - 10)
    return torch.round(noised / step) * step
