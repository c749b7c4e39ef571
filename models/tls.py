"""TLS to one server, known by its certificate authority and by its own public key.

An authority vouches for many servers, and whoever steals its key may name others. So a peer also pins the
public key of the server itself. The key stays when the certificate is renewed.
"""

import hashlib
import hmac
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_der_x509_certificate, load_pem_x509_certificate

from terrycloth.models.errors import UserError

OTHER_KEY = "the server's public key is not the pinned one"


def key_fingerprint(certificate: Certificate) -> str:
    """Return the SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER), in hexadecimal."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def fingerprint_of(path: Path) -> str:
    """Return the fingerprint of the public key in a certificate file. Raises UserError if it is none."""
    try:
        return key_fingerprint(load_pem_x509_certificate(path.read_bytes()))
    except (OSError, ValueError):
        raise UserError(f"cannot read {path} as a certificate in PEM form") from None


def pinned_context(authority: Path, pin: str) -> ssl.SSLContext:
    """Return a TLS context that reaches the server with this public key, and no other.

    authority: file of the certificate authority. pin: the server's `key_fingerprint`. A connection to any
    other server raises ssl.SSLCertVerificationError before anything is sent. Raises UserError if the
    authority's file cannot be read.
    """

    class PinnedSocket(ssl.SSLSocket):
        """A socket that compares the server's public key as soon as TLS has verified its certificate."""

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            found = key_fingerprint(load_der_x509_certificate(self.getpeercert(binary_form=True) or b""))
            if not hmac.compare_digest(found, pin):
                raise ssl.SSLCertVerificationError(OTHER_KEY)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError):
        raise UserError(f"cannot read {authority} as a certificate authority in PEM form") from None
    context.sslsocket_class = PinnedSocket
    return context
