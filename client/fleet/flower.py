"""Flower's fleet interface, as a device uses it.

No other module of a device uses what Flower keeps internal. It was written for flwr 1.42, and
`tests/client/fleet/test_flower.py` fails if Flower changes what is used here. There is no call that fetches
an app from the server, so nothing that the server holds can run on a device.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ssl import SSLContext, SSLError
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

HEARTBEAT = 10.0  # seconds, the least that Flower allows: a server notices within two that a device is gone
MOST_OBJECTS = 1000  # of one message: its records, its arrays and their pieces of 5 MB
MOST_BYTES = 256 * 2**20  # of one message, and of one answer of the server
SECONDS_TO_UPLOAD = 60.0  # the server may still be storing an object that it has announced
TRIES = 5  # of each call that the network or the server's restart may fail
GONE = {httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}


class NotAllowed(Exception):
    """The server does not know this device's key, or does not let it return yet."""


class Unusable(Exception):
    """A message that must not be answered. Its text is a reason fit for a log."""


@dataclass(frozen=True)
class Received:
    """A message whose content is still at the server."""

    head: Message
    tree: ObjectTree

    @property
    def run(self) -> int:
        """The server's number of the run."""
        return int(self.head.metadata.run_id)

    @property
    def deadline(self) -> float:
        """Seconds since 1970 after which nobody waits for the answer."""
        return float(self.head.metadata.created_at + self.head.metadata.ttl)


class Fleet:
    """One device's connection to the server.

    address: HOST:PORT. tls: context that verifies the server; None speaks without TLS. key: the key by which
    the server knows the device.
    """

    def __init__(self, address: str, tls: SSLContext | None, key: ec.EllipticCurvePrivateKey) -> None:
        self.public_key = public_key_to_bytes(key.public_key())
        self.client = FleetHttpClient(
            f"{'http' if tls is None else 'https'}://{address}",
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
            verify=False if tls is None else tls,
        )
        connection = self.client._client
        connection.follow_redirects = False
        connection.headers["accept-encoding"] = "identity"
        connection.event_hooks = {"response": [_bound]}
        self.node = Node()

    def activate(self) -> int:
        """Announce the device, and return the number that the server gave it. Raises NotAllowed."""
        request = ActivateNodeRequest(public_key=self.public_key, heartbeat_interval=HEARTBEAT)
        self.node = Node(node_id=_call(self.client.ActivateNode, request).node_id)
        return int(self.node.node_id)

    def deactivate(self) -> None:
        """Tell the server that the device leaves, so that it may come back at once."""
        _call(self.client.DeactivateNode, DeactivateNodeRequest(node_id=self.node.node_id), tries=1)

    def beat(self) -> None:
        """Tell the server that the device is still there. Raises NotAllowed if it was taken for lost."""
        request = SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=HEARTBEAT)
        if not _call(self.client.SendNodeHeartbeat, request).success:
            raise NotAllowed

    def next_message(self) -> Received | None:
        """Return the next message for this device without its content, or None."""
        answer = _call(self.client.PullMessages, PullMessagesRequest(node=self.node))
        if not answer.messages_list:
            return None
        return Received(message_from_proto(answer.messages_list[0]), answer.message_object_trees[0])

    def fetch(self, received: Received) -> Message:
        """Download a message's content. Raises Unusable if it is too large, or not what was announced."""
        ids = _ids(received.tree)
        contents: dict[str, bytes] = {}
        left = MOST_BYTES
        for object_id in ids:
            contents[object_id] = self._object(received.run, object_id)
            left -= len(contents[object_id])
            if left < 0:
                raise Unusable("the message is too large")
        head = received.head.metadata
        _call(
            self.client.ConfirmMessageReceived,
            ConfirmMessageReceivedRequest(
                node=self.node, run_id=received.run, message_object_id=head.message_id
            ),
        )
        try:
            message = inflate_object_from_contents(head.message_id, contents)
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
            raise Unusable("the message cannot be decoded") from None
        if not isinstance(message, Message):
            raise Unusable("the message cannot be decoded")
        message.metadata.__dict__["_message_id"] = head.message_id
        return message

    def _object(self, run: int, object_id: str) -> bytes:
        """Download one object, and wait while the server still stores it."""
        request = PullObjectRequest(node=self.node, run_id=run, object_id=object_id)
        until = time.monotonic() + SECONDS_TO_UPLOAD
        while not (answer := _call(self.client.PullObject, request)).object_available:
            if not answer.object_found or time.monotonic() > until:
                raise Unusable("the server no longer has the message")
            time.sleep(0.2)
        content: bytes = answer.object_content
        if hashlib.sha256(content).hexdigest() != object_id:
            raise Unusable("the message is not the one that was announced")
        return content

    def answer(self, reply: Message) -> None:
        """Send a reply.

        Flower also asks how long the device took. It is told 0, because that may depend on what is held.
        Raises httpx.HTTPError if the server cannot be reached, and Unusable if it no longer waits.
        """
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            objects = get_all_nested_objects(reply)
            request = PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[0.0],
            )
            accepted = _call(self.client.PushMessages, request)
            for object_id in accepted.objects_to_push:
                pushed = PushObjectRequest(
                    node=self.node,
                    run_id=reply.metadata.run_id,
                    session_id=accepted.session_id,
                    object_id=object_id,
                    object_content=objects[object_id].deflate(),
                )
                _call(self.client.PushObject, pushed)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


def refusal(message: Message, code: int, reason: str) -> Message:
    """Return the error that answers a message."""
    return Message(Error(code=code, reason=reason), reply_to=message)


def _ids(tree: ObjectTree) -> list[str]:
    """Return the ids of all objects of a message, each once. Raises Unusable if there are too many."""
    found: dict[str, None] = {}
    waiting = [tree]
    while waiting:
        here = waiting.pop()
        found[here.object_id] = None
        waiting += here.children
        if len(found) + len(waiting) > MOST_OBJECTS:
            raise Unusable("the message has too many parts")
    return list(found)


def _call(method: Any, request: Any, tries: int = TRIES) -> Any:
    """Call the server, and again after a second or more if the network or the server fails."""
    for tried in range(1, tries + 1):
        try:
            return method(request)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            if code in (httpx.codes.UNAUTHORIZED, httpx.codes.PRECONDITION_FAILED):
                raise NotAllowed from None
            if code == httpx.codes.FORBIDDEN:
                raise Unusable("the run is over") from None
            if code not in GONE or tried == tries:
                raise
        except httpx.TransportError as error:
            if tried == tries or of_tls(error):
                raise
        time.sleep(2.0 ** (tried - 1))
    raise AssertionError


def of_tls(error: BaseException | None) -> bool:
    """Whether an error came from a failed verification of the server."""
    while error is not None:
        if isinstance(error, SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Bounded(httpx.SyncByteStream):
    """A response of the server that ends with an error once it is too large."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MOST_BYTES
        for piece in self.stream:
            left -= len(piece)
            if left < 0:
                raise Unusable("the server's answer is too large")
            yield piece

    def close(self) -> None:
        self.stream.close()


def _bound(response: httpx.Response) -> None:
    """Bound the bytes of a response before they are read. A packed response could grow without bound."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unusable("the server's answer is packed")
    response.stream = _Bounded(response.stream)


class Heart:
    """Beats in a thread of its own, so that a device that trains for long is not taken for lost."""

    def __init__(self, fleet: Fleet) -> None:
        self.lost = threading.Event()  # the server took the device for lost
        self._stop = threading.Event()
        self._fleet = fleet
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(0.5 * HEARTBEAT):
            try:
                self._fleet.beat()
            except NotAllowed:
                self.lost.set()
                return
            except (httpx.HTTPError, Unusable):
                continue  # the next beat may get through
