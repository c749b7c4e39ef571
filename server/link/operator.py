"""What the operator of a server may do by Flower's control interface: register devices, start runs.

It was written for flwr 1.42, as `server.link.listeners` was.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from ssl import SSLContext
from typing import Any

import httpx
import tomli_w
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab

from terrycloth.models.errors import UserError

SECONDS = 60.0  # to wait for an answer
NO_SERVER = "the server does not answer at {}: start it with terry federation serve"
NO_TOKEN = "the server at {} does not accept this token: use the operator's token that it was started with"


@dataclass(frozen=True)
class Node:
    """A device group that is registered with a server."""

    number: int
    name: str
    online: bool


class Bearer:
    """Adds the operator's token to each request."""

    def __init__(self, token: str) -> None:
        self.token = token

    def intercept(self, context: Any, call_next: Any) -> Any:
        """Pass the request on with the token."""
        context.request.headers["authorization"] = f"Bearer {self.token}"
        return call_next(context)


class Operator:
    """The operator's connection to a server.

    address: HOST:PORT of the operator's listener. tls: context that verifies the server; None speaks without
    TLS. Each method raises UserError if the server does not answer or refuses the token.
    """

    def __init__(self, address: str, tls: SSLContext | None, token: str) -> None:
        self.address, self.tls, self.token = address, tls, token
        self.client = ControlHttpClient(
            self.url, interceptors=[Bearer(token)], verify=False if tls is None else tls, timeout=SECONDS
        )
        self.client._client.follow_redirects = False

    @property
    def url(self) -> str:
        """The server's address with its scheme."""
        return f"{'http' if self.tls is None else 'https'}://{self.address}"

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request)
        except httpx.TransportError:
            raise UserError(NO_SERVER.format(self.address)) from None
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.UNAUTHORIZED:
                raise UserError(NO_TOKEN.format(self.address)) from None
            raise

    def register(self, public_key: bytes, name: str) -> int:
        """Let the device group with this key (PEM) connect, and return the number that the server gave it."""
        request = RegisterNodeRequest(public_key=public_key, name=name)
        return int(self._call(self.client.RegisterNode, request).node_id)

    def unregister(self, number: int) -> None:
        """Keep a device group out from now on."""
        self._call(self.client.UnregisterNode, UnregisterNodeRequest(node_id=number))

    def nodes(self) -> list[Node]:
        """Return the registered device groups."""
        listed = self._call(self.client.ListNodes, ListNodesRequest()).nodes_info
        return [Node(int(each.node_id), str(each.name), each.status == "online") for each in listed]

    def start_run(self) -> int:
        """Record a new run at the server, and return its number."""
        packed = bundle()
        fab = Fab(hashlib.sha256(packed).hexdigest(), packed, {})
        return int(self._call(self.client.StartRun, StartRunRequest(fab=fab_to_proto(fab))).run_id)

    def status_of(self, run: int) -> str:
        """Return a run's status as Flower has it, such as running or finished:completed."""
        found = self._call(self.client.ListRuns, ListRunsRequest(run_id=run)).run_dict[run].status
        return f"{found.status}:{found.sub_status}" if found.sub_status else str(found.status)

    def stop_run(self, run: int) -> None:
        """Stop a run."""
        self._call(self.client.StopRun, StopRunRequest(run_id=run))

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


def bundle() -> bytes:
    """Return the bundle that Flower asks for where a run starts.

    It names the installed apps and holds no code. Nobody opens it: neither server nor device runs a bundle.
    """
    apps = {"serverapp": "terrycloth.server.app:app", "clientapp": "terrycloth.client.app:app"}
    named = {
        "project": {
            "name": "terrycloth",
            "version": version("terrycloth"),
            "description": "The installed apps of terrycloth.",
            "license": "Apache-2.0",
        },
        "tool": {"flwr": {"app": {"publisher": "terrycloth", "components": apps, "config": {}}}},
    }
    return bytes(build_fab_from_files({"pyproject.toml": tomli_w.dumps(named).encode()})[0])
