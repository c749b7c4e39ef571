"""Flower's SuperLink behind two listeners: one for devices, one for the operator.

Flower serves everything on one port, where whoever holds the authority's file may list runs, register keys
and submit apps. Here a device's listener answers the fleet interface and /health, and the operator's listener
answers Flower's control and runtime interfaces, each behind the operator's token. Everything else is 404. No
process of the server runs what somebody submits: `server.link.rounds` runs the installed ServerApp.

It was written for flwr 1.42. `tests/server/link/test_listeners.py` goes through every route that Flower has.
"""

import hmac
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from flwr.common.constant import ACCESS_TOKEN_KEY, ISOLATION_MODE_PROCESS
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.http_logging import get_uvicorn_log_config
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app

from terrycloth.models.durable import write_private
from terrycloth.models.errors import UserError

FLEET, HEALTH = "/v1/fleet/", "/health"
OPERATOR = ("/v1/control/", "/v1/runtime/")
# Flower's own log-in, which its control interface leaves open. A token stands in its place.
LOGIN = {f"/v1/control/{name}" for name in ("get-login-details", "get-auth-tokens", "refresh-auth-tokens")}
MOST_BODY = 8 * 2**20  # bytes of a request; Flower sends arrays in pieces of 5.24 MB
TOKEN_BYTES = 32

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and the files that it needs.

    devices, operator: host and port of each listener. certificate, key, authority: PEM files; None serves
    without TLS. token: file of the operator's token. database: file of registered devices and of runs; None
    keeps them in memory.
    """

    devices: tuple[str, int]
    operator: tuple[str, int]
    certificate: Path | None
    key: Path | None
    authority: Path | None
    token: Path
    database: Path | None


def new_token(path: Path) -> None:
    """Write a new operator's token into a file that only its owner can read."""
    write_private(path, secrets.token_hex(TOKEN_BYTES).encode())


def read_token(path: Path) -> str:
    """Return the operator's token. Raises UserError if it is missing, short, or open to other users."""
    try:
        if path.stat().st_mode & 0o077:
            raise UserError(f"other users can read {path}: run chmod 600 {path}, and make a new token")
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise UserError(f"cannot read the operator's token in {path}") from None
    if len(token) < 2 * TOKEN_BYTES:
        raise UserError(f"{path} holds no operator's token: make one with terry federation init")
    return token


class TokenPlugin(NoOpControlAuthnPlugin):
    """Flower's authentication of accounts: there is one, whoever holds the operator's token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token.encode()

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Return whether the metadata hold the token, and the account."""
        given = dict(metadata).get(ACCESS_TOKEN_KEY, "")
        given = given.encode() if isinstance(given, str) else given
        if not hmac.compare_digest(given, self.token):
            return False, None
        return super().validate_tokens_in_metadata(metadata)


def allowed(path: str, *, to_devices: bool) -> bool:
    """Whether a listener answers requests for this path."""
    if path == HEALTH:
        return True
    return path.startswith(FLEET) if to_devices else path.startswith(OPERATOR) and path not in LOGIN


class Gate:
    """Passes on what a listener answers, told apart by the port on which a request arrived."""

    def __init__(self, app: Any, listening: Listening) -> None:
        self.app = app
        self.ports = {listening.devices[1]: True, listening.operator[1]: False}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer 404 to what this listener does not serve, and 413 to a body that is too large."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        to_devices = self.ports.get((scope.get("server") or (None, -1))[1])
        if scope["type"] != "http" or to_devices is None or not allowed(scope["path"], to_devices=to_devices):
            await _refuse(send, 404)
            return
        length = dict(scope["headers"]).get(
            b"content-length", b"0" if scope["method"] in ("GET", "HEAD") else b""
        )
        if not length.isdigit() or int(length) > MOST_BODY:
            await _refuse(send, 413)
            return
        await self.app(scope, receive, send)


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def make_app(listening: Listening) -> Any:
    """Return Flower's SuperLink as it is served here. Raises UserError if a file cannot be read."""
    token = read_token(listening.token)
    tls = (listening.authority, listening.certificate, listening.key)
    try:
        certificates = None if None in tls else tuple(path.read_bytes() for path in tls if path)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    host, port = listening.operator
    config = SuperLinkLifespanConfig(
        control_address="", health_server_address=None, host=host, port=port, insecure=certificates is None,
        certificates=certificates,  # type: ignore[arg-type]
        superexec_auth_secret=token.encode(), authn_plugin=TokenPlugin(token), event_log_plugin=None,
        fleet_event_log_plugin=None, enable_event_log=False, artifact_provider=None,
        enable_supernode_auth=True, fleet_api_type="grpc-rere", fleet_api_address=None, simulation=False,
        ssl_ca_certfile=_text(listening.authority), ssl_certfile=_text(listening.certificate),
        ssl_keyfile=_text(listening.key), database=_text(listening.database) or FLWR_IN_MEMORY_DB_NAME,
        isolation=ISOLATION_MODE_PROCESS,  # starts nothing that would run a submitted app
        runtime_dependency_install=False,
    )  # fmt: skip
    return Gate(create_app(config, SuperLinkLifespan), listening)


def serve(listening: Listening) -> None:
    """Serve until a signal stops it. Raises UserError if a port is taken or a file cannot be read."""
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
    logging.getLogger("flwr").propagate = False  # it writes its lines itself
    app = make_app(listening)
    sockets = [_bound(*address) for address in (listening.devices, listening.operator)]
    config = uvicorn.Config(
        app, log_config=get_uvicorn_log_config(logging.INFO), access_log=False, proxy_headers=False,
        server_header=False, ws="none", timeout_graceful_shutdown=2,
        ssl_keyfile=listening.key, ssl_certfile=listening.certificate,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=sockets)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}): choose another port") from None
    return bound


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
