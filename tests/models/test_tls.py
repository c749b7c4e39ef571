"""A connection reaches the server with the pinned key, and sends nothing to any other."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from terrycloth.experiments.federation.certificates import make_certificates
from terrycloth.models.errors import UserError
from terrycloth.models.tls import OTHER_KEY, fingerprint_of, pinned_context


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    made = tmp_path / "ca.crt", tmp_path / "server.crt", tmp_path / "server.key"
    make_certificates(["127.0.0.1"], *made)
    return made


def said_to(files: tuple[Path, Path, Path], authority: Path, pin: str) -> bytes:
    """What a server with these files receives from a client that knows this authority and this key."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(files[1], files[2])
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            try:
                with serving.wrap_socket(connection, server_side=True) as secure:
                    received.extend(secure.recv(100))
            except OSError:
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            with socket.create_connection(listener.getsockname()) as plain:
                context = pinned_context(authority, pin)
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                    secure.sendall(b"an update")
        finally:
            thread.join()
    return bytes(received)


def test_the_pinned_key_is_spoken_to(files):
    assert said_to(files, files[0], fingerprint_of(files[1])) == b"an update"


def test_another_key_by_the_same_authority_gets_nothing(files):
    with pytest.raises(ssl.SSLCertVerificationError, match=OTHER_KEY):
        said_to(files, files[0], "0" * 64)


def test_a_server_of_another_authority_gets_nothing(files, tmp_path):
    other = tmp_path / "other.crt"
    make_certificates(["127.0.0.1"], other, tmp_path / "b.crt", tmp_path / "b.key")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        said_to(files, other, fingerprint_of(files[1]))


def test_a_file_that_is_no_certificate_is_named(tmp_path):
    (tmp_path / "ca.crt").write_text("hello")
    with pytest.raises(UserError, match=r"ca\.crt"):
        pinned_context(tmp_path / "ca.crt", "0" * 64)
