"""The Flower edge of a device: whatever goes wrong, only a type and a place leave."""

import logging

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

import client.app
from client.app import make_app
from client.farm import Farm
from client.opacus_trainer import OpacusTrainer
from models.update import (
    PARAMETERS_RECORD,
    REPLY_RECORD,
    SETTINGS_RECORD,
    UPDATE_RECORD,
    from_arrays,
    to_arrays,
    unpack_reply,
)

SECRET = "shopper 4711 bought item 31337"


@pytest.fixture(autouse=True)
def identity(monkeypatch) -> None:
    """What Flower tells a process it runs an app in."""
    for name in ("_task_id", "_run_id", "_node_id"):
        if hasattr(TaskIdentity, name):
            monkeypatch.setattr(TaskIdentity, name, getattr(TaskIdentity, name))
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


@pytest.fixture
def folder(tmp_path, shop, held):
    Farm.create(tmp_path / "farm", shop, held([1, 4, 4], [], [6]), key=None)
    return tmp_path / "farm"


@pytest.fixture
def asked(ask, build) -> RecordDict:
    """A question as the server's Flower strategy puts it."""
    settings = ask()
    content = RecordDict(
        {
            PARAMETERS_RECORD: to_arrays(build(settings).shared_parameters()),
            SETTINGS_RECORD: settings.to_record(),
        }
    )
    content[SETTINGS_RECORD]["server-round"] = 1
    return content


def send(content: RecordDict, folder, **node_config) -> Message:
    context = Context(run_id=1, node_id=1, node_config=node_config, state=RecordDict(), run_config={})
    return make_app(folder)(Message(content, 1, "train"), context)


def facts(reply: Message) -> dict:
    return dict(reply.content[REPLY_RECORD])


def test_an_answer_is_the_sum_and_public_facts(asked, folder):
    reply = send(asked, folder)
    assert not reply.has_error()
    assert set(reply.content) == {UPDATE_RECORD, REPLY_RECORD}
    assert facts(reply) == {"protocol": 1, "round": 1, "answered": 3}
    shared = from_arrays(asked[PARAMETERS_RECORD])
    assert unpack_reply(reply.content, shared, 1).answered == 3


def test_nothing_is_kept_in_flowers_own_state(asked, folder):
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    make_app(folder)(Message(asked, 1, "train"), context)
    assert not context.state


def test_a_part_is_named_by_the_nodes_config(asked, folder):
    reply = send(asked, folder, **{"partition-id": 1, "num-partitions": 3})
    assert facts(reply)["answered"] == 1
    assert (folder / "state-1-of-3.safetensors").exists()


def raise_secret(*args: object, **rest: object) -> None:
    items = [SECRET]
    try:
        raise IndexError(items[0])
    except IndexError as error:
        raise RuntimeError(f"training of {SECRET} failed") from error


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (OpacusTrainer, "train"),
        (OpacusTrainer, "train_device"),
        (Farm, "book"),
        (Farm, "load_state"),
        (Farm, "answer"),
        (client.app, "open_farm"),
        (client.app, "pack_reply"),
        (torch.Tensor, "backward"),
    ],
)
def test_an_error_tells_its_type_and_no_value(owner, name, asked, folder, monkeypatch, caplog, capfd):
    monkeypatch.setattr(owner, name, raise_secret)
    with caplog.at_level(logging.DEBUG):
        reply = send(asked, folder)
    assert reply.has_error()
    assert not reply.has_content()
    assert reply.error.code == client.app.TRAINING_FAILED
    assert "RuntimeError" in reply.error.reason
    said = capfd.readouterr()
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for text in (reply.error.reason, logged, said.out, said.err):
        for part in (SECRET, "4711", "31337", str(folder)):
            assert part not in text


def test_the_check_of_errors_catches_a_text_that_is_passed_on(asked, folder, monkeypatch):
    monkeypatch.setattr(client.app, "own_frames", str)
    monkeypatch.setattr(OpacusTrainer, "train", raise_secret)
    assert SECRET in send(asked, folder).error.reason


def test_an_item_outside_the_catalogue_fails_without_being_named(asked, folder, held, caplog):
    held([1], [31_337], [6]).save(folder / "events")
    with caplog.at_level(logging.DEBUG):
        reply = send(asked, folder)
    assert reply.has_error()
    assert "31337" not in reply.error.reason + caplog.text


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="such an item fails the answer only when a coin picks it"
)
def test_whether_a_device_answers_does_not_depend_on_what_its_coins_pick(asked, folder, held):
    held([31_337]).save(folder / "events")
    outcomes = set()
    for number in range(1, 9):
        asked[SETTINGS_RECORD]["round"] = number
        asked[SETTINGS_RECORD]["sampling_rate"] = 0.5
        outcomes.add(send(asked, folder).has_error())
    assert len(outcomes) == 1


def without(name):
    def change(content: RecordDict) -> None:
        del content[SETTINGS_RECORD][name]

    return change


def with_value(name, value):
    def change(content: RecordDict) -> None:
        content[SETTINGS_RECORD][name] = value

    return change


def extra_record(content: RecordDict) -> None:
    content[PARAMETERS_RECORD] = MetricRecord({"a": 1})


def no_parameters(content: RecordDict) -> None:
    del content[PARAMETERS_RECORD]


def no_settings(content: RecordDict) -> None:
    del content[SETTINGS_RECORD]


@pytest.mark.parametrize(
    "change",
    [
        without("clip"),
        pytest.param(
            without("protocol"),
            marks=pytest.mark.xfail(strict=True, reason="a missing protocol is taken for the current one"),
        ),
        with_value("protocol", 2),
        with_value("unit", "household"),
        with_value("unit", "shopper"),  # known to the literature, and not to this device
        with_value("unit", "none"),  # under a trust that promises something
        with_value("trust", "central"),
        with_value("send_events", True),
        with_value("noise_multiplier", -1.0),
        with_value("noise_multiplier", float("nan")),
        with_value("sampling_rate", 1.5),
        with_value("steps_per_round", 0),
        with_value("model", "gru"),
        with_value("clip", "none"),
        extra_record,
        no_parameters,
        no_settings,
    ],
)
def test_settings_that_a_device_does_not_know_are_refused(change, asked, folder, monkeypatch):
    monkeypatch.setattr(Farm, "answer", raise_secret)  # nothing may be trained
    change(asked)
    reply = send(asked, folder)
    assert not reply.has_error()
    expected = {"protocol": 1, "round": 1, "answered": 0, "refused.settings-unknown": 3}
    if change is no_settings:
        expected["round"] = 0
    assert facts(reply) == expected
    assert not reply.content[UPDATE_RECORD]
    assert not (folder / "state-0-of-1.safetensors").exists()


def test_other_shapes_are_refused(asked, folder):
    asked[PARAMETERS_RECORD] = to_arrays({"table.weight": torch.zeros(2, 3)})
    assert facts(send(asked, folder))["refused.model-mismatch"] == 3


def test_a_folder_that_is_not_there_is_not_named(asked, tmp_path, caplog):
    reply = send(asked, tmp_path / SECRET)
    assert reply.has_error()
    assert "4711" not in reply.error.reason + caplog.text


def test_records_are_those_of_flowers_own_types(asked, folder):
    reply = send(asked, folder)
    assert isinstance(reply.content[UPDATE_RECORD], ArrayRecord)
    assert isinstance(reply.content[REPLY_RECORD], ConfigRecord)
