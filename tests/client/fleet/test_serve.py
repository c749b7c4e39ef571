"""The loop of a device answers in order, drops what is late, and refuses what its app does not know."""

import logging
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from terrycloth.client.fleet import serve as serving
from terrycloth.client.fleet.connection import KEY_FILE, Connection, Place
from terrycloth.client.fleet.flower import NotAllowed, Received, Unusable
from terrycloth.client.fleet.maintenance import Maintenance
from terrycloth.client.fleet.serve import Device, Loop, devices_at, serve
from terrycloth.client.secure.identity import Identity
from terrycloth.models.errors import UserError

SECRET = "a-word-of-the-message"


class Fleet:
    """A server's messages, and what the device answered."""

    def __init__(self, messages: list[Message], stop: threading.Event) -> None:
        self.waiting = list(messages)
        self.stop = stop
        self.node = SimpleNamespace(node_id=5)
        self.fetched: list[Message] = []
        self.replies: list[Message] = []
        self.left = False

    def next_message(self):
        if not self.waiting:
            self.stop.set()
            return None
        return Received(self.waiting.pop(0), None)

    def fetch(self, received):
        self.fetched.append(received.head)
        if "broken" in received.head.content["said"]:
            raise Unusable("the message cannot be decoded")
        return received.head

    def answer(self, reply):
        self.replies.append(reply)

    def deactivate(self):
        self.left = True


def message(kind: str = "train", *, age: float = 0.0, **said) -> Message:
    made = Message(RecordDict({"said": ConfigRecord({"word": SECRET, **said})}), 5, kind, ttl=60.0)
    made.metadata.created_at -= age
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Place:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    Identity.new().save(tmp_path / KEY_FILE)
    Connection(server="127.0.0.1:1", insecure=True).save(tmp_path)
    return Place.open(tmp_path)


def conversation(place: Place, messages: list[Message]) -> tuple[Fleet, list[int]]:
    """Let a device answer these messages; returns what it did, and the numbers that its app was given."""
    app, given = ClientApp(), []

    @app.train()
    def train(message, context):
        assert context.run_config == {}
        given.append(message.content["said"].get("number"))
        return Message(RecordDict(), reply_to=message)

    stop = threading.Event()
    loop = Loop(Device(place, app), threading.Lock(), stop, 1.0)
    loop.fleet.close()
    fleet = loop.fleet = Fleet(messages, stop)
    loop.converse(SimpleNamespace(lost=threading.Event()))
    return fleet, given


def test_messages_are_answered_in_order(place):
    fleet, given = conversation(place, [message(number=1), message(number=2)])
    assert given == [1, 2]
    assert [reply.has_error() for reply in fleet.replies] == [False, False]
    assert fleet.left


def test_a_message_whose_deadline_has_passed_is_dropped_before_it_is_downloaded(place, caplog):
    fleet, given = conversation(place, [message(number=1, age=61.0), message(number=2)])
    assert given == [2]
    assert len(fleet.fetched) == 1
    assert "its deadline has passed" in caplog.text


def test_what_the_app_does_not_know_is_refused(place, caplog):
    fleet, given = conversation(place, [message("query"), message("train.other"), message(number=3)])
    assert given == [3]
    assert [reply.has_error() for reply in fleet.replies] == [True, True, False]
    assert caplog.text.count(serving.UNKNOWN_TYPE) == 2


def test_a_broken_message_is_dropped_and_the_next_answered(place, caplog):
    _, given = conversation(place, [message(broken=1), message(number=2)])
    assert given == [2]
    assert "dropped a message: the message cannot be decoded" in caplog.text


def test_the_log_holds_no_text_of_a_message(place, caplog):
    caplog.set_level(logging.DEBUG)
    conversation(place, [message(), message("query"), message(broken=1), message(age=100.0)])
    assert "answered message" in caplog.text
    assert SECRET not in caplog.text


def test_a_device_that_the_server_does_not_accept_is_given_up(place, monkeypatch):
    monkeypatch.setattr(serving, "RETURN", 0.01)
    monkeypatch.setattr(serving.Fleet, "activate", lambda fleet: refuse())
    kept_out = serve([Device(place, ClientApp())], threading.Event(), give_up=0.05)
    assert kept_out == {place.folder.name: serving.UNKNOWN_KEY}


def refuse():
    raise NotAllowed


def test_a_device_waits_for_a_server_that_is_away(place, monkeypatch):
    monkeypatch.setattr(serving, "RETURN", 0.01)
    stop, tried = threading.Event(), []

    def activate(fleet):
        tried.append(time.monotonic())
        if len(tried) == 20:
            stop.set()
        raise Unusable("the server cannot be reached")

    monkeypatch.setattr(serving.Fleet, "activate", activate)
    assert serve([Device(place, ClientApp())], stop, give_up=0.0) == {}


def test_a_folder_without_a_connection_is_named(tmp_path):
    with pytest.raises(UserError, match=r"connection\.toml does not say"):
        devices_at([tmp_path], lambda folder: ClientApp())


def test_a_connection_without_a_pin_is_refused(tmp_path):
    Connection(server="shop.example:9092").save(tmp_path)
    with pytest.raises(UserError, match="server_key"):
        Place.open(tmp_path)


def test_no_message_makes_a_device_fetch_the_list_of_tasks(place, monkeypatch):
    """Only the thread that looks at the clock does, once for the process and not once for a message."""
    looked: list[str] = []
    monkeypatch.setattr(Maintenance, "do_what_is_due", lambda due: looked.append(due.source))
    conversation(place, [message(number=1), message(number=2)])
    assert looked == []
    listed = place.connection.model_copy(update={"task_list": "https://towels.example/tasks"})
    listed.save(place.folder)
    monkeypatch.setattr(serving.Fleet, "activate", lambda fleet: refuse())
    monkeypatch.setattr(serving, "RETURN", 0.01)
    serve([Device(Place.open(place.folder), ClientApp())], threading.Event(), give_up=0.05)
    assert looked == ["https://towels.example/tasks"]
