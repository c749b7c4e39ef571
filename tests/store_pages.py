"""The pages of an SQLCipher file as they are once decrypted: all of them, free ones and the log's too.

SQLCipher 4 encrypts each page of 4,096 bytes by AES-256 in CBC mode. A page ends in its initialisation vector
of 16 bytes and a tag of 64; the first one begins with the salt.
"""

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

PAGE, VECTOR, TAG, SALT = 4096, 16, 64, 16
LOG_HEADER, FRAME_HEADER = 32, 24


def decrypted(page: bytes, key: bytes, first: bool) -> bytes:
    content, vector = page[SALT if first else 0 : -VECTOR - TAG], page[-VECTOR - TAG : -TAG]
    decryptor = Cipher(AES256(key), CBC(vector)).decryptor()
    return decryptor.update(content) + decryptor.finalize()


def pages(path: Path, key: bytes) -> Iterator[bytes]:
    """Every page of the file and every page in its log, decrypted."""
    data = path.read_bytes()
    for at in range(0, len(data), PAGE):
        yield decrypted(data[at : at + PAGE], key, first=at == 0)
    log = path.with_name(path.name + "-wal")
    data = log.read_bytes()[LOG_HEADER:] if log.exists() else b""
    for at in range(0, len(data) - PAGE, FRAME_HEADER + PAGE):
        number = int.from_bytes(data[at : at + 4])
        frame = data[at + FRAME_HEADER : at + FRAME_HEADER + PAGE]
        yield decrypted(frame, key, first=number == 1)


def found(text: str, path: Path, key: bytes) -> int:
    """The number of pages that hold a text."""
    return sum(text.encode() in page for page in pages(path, key))
