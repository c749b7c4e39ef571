"""What a device uses of Flower's internals is as it was, and what a server sends is bounded and verified."""

import hashlib
import inspect
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse, PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient

from terrycloth.client.fleet import flower
from terrycloth.client.fleet.flower import Fleet, NotAllowed, Received, Unusable

CLIENT = Path(flower.__file__).parents[1]


def test_flower_is_as_this_module_expects():
    """If this fails, read what Flower changed, adapt client/fleet/flower.py, and run the federation tests."""
    assert version("flwr").startswith("1.42.")
    assert list(inspect.signature(ProtobufClient.__init__).parameters) == [
        "self", "base_url", "interceptors", "verify", "timeout", "retry_invoker",
    ]  # fmt: skip
    paths = {
        "ActivateNode": "activate-node", "DeactivateNode": "deactivate-node",
        "SendNodeHeartbeat": "send-node-heartbeat", "PullMessages": "pull-messages",
        "PushMessages": "push-messages", "PullObject": "pull-object", "PushObject": "push-object",
        "ConfirmMessageReceived": "confirm-message-received",
    }  # fmt: skip
    for name, path in paths.items():
        assert f"/v1/fleet/{path}" in inspect.getsource(getattr(FleetHttpClient, name)), name
    fields = {
        ActivateNodeRequest: {"public_key", "heartbeat_interval"},
        PullMessagesResponse: {"reconnect", "messages_list", "message_object_trees"},
        PushMessagesRequest: {"node", "messages_list", "message_object_trees", "clientapp_runtime_list"},
        PullObjectResponse: {"object_found", "object_available", "object_content"},
        PushObjectRequest: {"node", "run_id", "object_id", "object_content", "session_id"},
    }
    for message, names in fields.items():
        assert set(message.DESCRIPTOR.fields_by_name) == names, message


def test_no_code_of_a_device_can_fetch_an_app():
    sources = [path.read_text(encoding="utf-8") for path in CLIENT.rglob("*.py")]
    assert len(sources) > 30
    for word in ("GetFab", "get_fab", "install_from_fab", "pickle.load", "import pickle"):
        assert not any(word in source for source in sources), word


class Server:
    """Answers as a SuperLink would, from a table of objects."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.pulled: list[str] = []
        self.confirmed = 0

    def PullObject(self, request):
        self.pulled.append(request.object_id)
        content = self.objects.get(request.object_id)
        return PullObjectResponse(
            object_found=content is not None, object_available=content is not None, object_content=content
        )

    def ConfirmMessageReceived(self, request):
        self.confirmed += 1


@pytest.fixture
def message(monkeypatch) -> Message:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    content = RecordDict({"arrays": ArrayRecord({}), "config": ConfigRecord({"round": 3})})
    made = Message(content, 5, "train", ttl=60.0)
    made.metadata.__dict__["_message_id"] = made.object_id
    return made


def fleet_to(server) -> Fleet:
    fleet = Fleet("127.0.0.1:1", None, ec.generate_private_key(ec.SECP256R1()))
    fleet.close()
    fleet.client = server
    return fleet


def objects_of(message: Message) -> dict[str, bytes]:
    return {key: value.deflate() for key, value in get_all_nested_objects(message).items()}


def test_a_message_is_downloaded_as_it_was_sent(message):
    server = Server(objects_of(message))
    got = fleet_to(server).fetch(Received(message, get_object_tree(message)))
    assert got.content["config"]["round"] == 3
    assert server.confirmed == 1


def test_an_object_that_was_changed_is_not_used(message):
    objects = objects_of(message)
    name = next(key for key, value in objects.items() if b"round" in value)
    objects[name] = objects[name].replace(b"round", b"hound")
    with pytest.raises(Unusable, match="not the one that was announced"):
        fleet_to(Server(objects)).fetch(Received(message, get_object_tree(message)))


def test_too_many_parts_are_refused_before_any_is_downloaded(message):
    wide = ObjectTree(children=[ObjectTree(object_id=str(part)) for part in range(flower.MOST_OBJECTS)])
    server = Server({})
    with pytest.raises(Unusable, match="too many parts"):
        fleet_to(server).fetch(Received(message, wide))
    assert server.pulled == []


def test_too_many_bytes_are_refused_before_all_are_downloaded(message, monkeypatch):
    monkeypatch.setattr(flower, "MOST_BYTES", 25)
    pieces = [bytes([part]) * 10 for part in range(5)]
    objects = {hashlib.sha256(piece).hexdigest(): piece for piece in pieces}
    tree = ObjectTree(object_id=next(iter(objects)), children=[ObjectTree(object_id=key) for key in objects])
    server = Server(objects)
    with pytest.raises(Unusable, match="too large"):
        fleet_to(server).fetch(Received(message, tree))
    assert len(server.pulled) == 3


def test_garbage_is_not_decoded(message):
    garbage = b"no message at all"
    name = hashlib.sha256(garbage).hexdigest()
    message.metadata.__dict__["_message_id"] = name
    with pytest.raises(Unusable, match="cannot be decoded"):
        fleet_to(Server({name: garbage})).fetch(Received(message, ObjectTree(object_id=name)))


@pytest.mark.parametrize(("headers", "reason"), [({"content-encoding": "gzip"}, "packed"), ({}, "too large")])
def test_an_answer_of_the_server_is_bounded(monkeypatch, headers, reason):
    monkeypatch.setattr(flower, "MOST_BYTES", 99)
    endless = httpx.MockTransport(
        lambda request: httpx.Response(200, headers=headers, stream=httpx.ByteStream(bytes(100)))
    )
    with (
        httpx.Client(transport=endless, event_hooks={"response": [flower._bound]}) as client,
        pytest.raises(Unusable, match=reason),
    ):
        client.get("http://server")


@pytest.mark.parametrize(
    ("status", "error"), [(401, NotAllowed), (412, NotAllowed), (403, Unusable), (400, httpx.HTTPStatusError)]
)
def test_what_a_status_means(status, error):
    request = httpx.Request("POST", "http://server")

    def answer(_):
        httpx.Response(status, request=request).raise_for_status()

    with pytest.raises(error):
        flower._call(answer, None)


def test_a_call_is_repeated_while_the_server_restarts(monkeypatch):
    monkeypatch.setattr(flower, "time", SimpleNamespace(sleep=lambda seconds: None))
    calls = []

    def answer(_):
        calls.append(1)
        if len(calls) < 3:
            raise httpx.ConnectError("refused")
        return "there"

    assert flower._call(answer, None) == "there"
    assert len(calls) == 3
