"""Masks: ChaCha20 (RFC 8439) expands a key of 256 bits to a vector of integers mod 2³² or 2⁶⁴."""

from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

Vector = npt.NDArray[np.unsignedinteger[Any]]


def dtype_of(width: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return uint32 or uint64."""
    return np.dtype(f"uint{width}")


def expand(key: bytes, width: int, length: int) -> Vector:
    """Return the key's stream as little-endian integers of `width` bits: [length].

    A key is used for one mask.
    """
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(length * width // 8))
    return np.frombuffer(stream, dtype=f"<u{width // 8}").astype(dtype_of(width))


def add_pairwise(vector: Vector, mask: Vector, name: str, other: str) -> None:
    """Apply the mask that nodes `name` and `other` share to the vector of `name`, in place.

    The lower name adds the mask, and the higher subtracts it.
    """
    if name < other:
        np.add(vector, mask, out=vector)  # array arithmetic wraps around, as integers mod 2^width do
    else:
        np.subtract(vector, mask, out=vector)
