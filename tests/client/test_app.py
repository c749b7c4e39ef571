"""The Flower app of a device.

Whatever goes wrong, only the error's type and place are logged, and no value.
"""

import logging
import math
import os

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.task_identity import TaskIdentity

import terrycloth.client.app
from terrycloth.client.app import GROUP_VARIABLE, VARIABLE, make_app
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.opacus_trainer import OpacusTrainer
from terrycloth.models.privacy.randomness import KEY_BYTES
from terrycloth.models.recommenders.recommender import Recommender
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import (
    PARAMETERS_RECORD,
    REPLY_RECORD,
    SETTINGS_RECORD,
    UPDATE_RECORD,
    Refusal,
    from_arrays,
    to_arrays,
    unpack_reply,
)
from tests.policies import ANYTHING
from tests.secret import SECRET, SECRETS


@pytest.fixture(autouse=True)
def identity(monkeypatch) -> None:
    """Set the variables that Flower sets for a process that runs an app."""
    for name in ("_task_id", "_run_id", "_node_id"):
        if hasattr(TaskIdentity, name):
            monkeypatch.setattr(TaskIdentity, name, getattr(TaskIdentity, name))
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


@pytest.fixture
def folder(tmp_path, shop, held):
    DeviceGroup.create(tmp_path / "device-group", shop, held([1, 4, 4], [], [6]), ANYTHING)
    return tmp_path / "device-group"


def query_of(settings: RoundSettings, model: Recommender) -> RecordDict:
    """Return a query as the server's Flower strategy builds it."""
    content = RecordDict(
        {PARAMETERS_RECORD: to_arrays(model.shared_parameters()), SETTINGS_RECORD: settings.to_record()}
    )
    content[SETTINGS_RECORD]["server-round"] = 1
    return content


@pytest.fixture
def asked(ask, build) -> RecordDict:
    settings = ask()
    return query_of(settings, build(settings))


def context_with(node_config: dict | None = None, run_config: dict | None = None) -> Context:
    return Context(1, 1, node_config=node_config or {}, state=RecordDict(), run_config=run_config or {})


def send(content: RecordDict, folder, context: Context | None = None) -> Message:
    return make_app(folder, trainer="reference")(Message(content, 1, "train"), context or context_with())


def facts(reply: Message) -> dict:
    return dict(reply.content[REPLY_RECORD])


def test_an_answer_is_the_sum_and_public_facts(asked, folder):
    reply = send(asked, folder)
    assert not reply.has_error()
    assert set(reply.content) == {UPDATE_RECORD, REPLY_RECORD}
    assert facts(reply) == {"protocol": 1, "round": 1, "answered": 3}
    shared = from_arrays(asked[PARAMETERS_RECORD])
    assert unpack_reply(reply.content, shared, 1).answered == 3


def test_nothing_is_kept_in_flowers_context(asked, folder):
    context = context_with()
    send(asked, folder, context)
    assert not context.state


# The device group's folder and partition, which its owner names


@pytest.fixture
def other(tmp_path, shop, held):
    """Create the device group of somebody else, with five devices."""
    DeviceGroup.create(tmp_path / "other", shop, held([1], [2], [3], [4], [5]), ANYTHING)
    return tmp_path / "other"


def states(folder) -> list[str]:
    return [path.name for path in folder.glob("state-*.safetensors")]


def test_the_node_config_names_the_partition(asked, folder):
    reply = send(asked, folder, context_with({"partition-id": 1, "num-partitions": 3}))
    assert facts(reply)["answered"] == 1
    assert states(folder) == ["state-1-of-3.safetensors"]


@pytest.mark.parametrize(("part", "parts"), [(3, 3), (-1, 3), (0, 0)])
def test_a_partition_that_does_not_exist_is_an_error(part, parts, asked, folder):
    reply = send(asked, folder, context_with({"partition-id": part, "num-partitions": parts}))
    assert reply.error.reason == terrycloth.client.app.FAILED
    assert states(folder) == []


def test_the_node_config_or_else_the_environment_names_the_device_group(asked, folder, other, monkeypatch):
    monkeypatch.setenv(GROUP_VARIABLE, str(folder))
    assert facts(send(asked, None))["answered"] == 3
    assert facts(send(asked, None, context_with({"device-group": str(other)})))["answered"] == 5


@pytest.mark.parametrize("place", ["argument", "node config", "environment"])
def test_a_run_config_does_not_change_the_device_group_or_the_partition(
    place, asked, folder, other, monkeypatch
):
    """The run config comes with the app, from the server's side."""
    if place == "environment":
        monkeypatch.setenv(GROUP_VARIABLE, str(folder))
    run_config = {
        "device-group": str(other),
        GROUP_VARIABLE: str(other),
        "partition-id": 1,
        "num-partitions": 3,
    }
    context = context_with({"device-group": str(folder)} if place == "node config" else {}, run_config)
    reply = send(asked, folder if place == "argument" else None, context)
    assert facts(reply)["answered"] == 3
    assert states(folder) == ["state-0-of-1.safetensors"]
    assert states(other) == []


def test_a_run_config_cannot_name_a_device_group(asked, other, monkeypatch):
    monkeypatch.delenv(GROUP_VARIABLE, raising=False)
    reply = send(asked, None, context_with(run_config={"device-group": str(other)}))
    assert reply.has_error()
    assert states(other) == []


@pytest.mark.parametrize("named", ["", "device-group", "./device-group"])
@pytest.mark.parametrize("place", ["node config", "environment"])
def test_a_relative_path_of_a_device_group_is_refused(named, place, asked, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv(GROUP_VARIABLE, named if place == "environment" else str(folder))
    context = context_with({"device-group": named} if place == "node config" else {})
    with pytest.raises(ValueError, match="absolute"):
        terrycloth.client.app.open_group(context, None)
    assert send(asked, None, context).has_error()
    assert states(folder) == []


# The policy, which the owner names too


@pytest.mark.parametrize("place", ["node config", "environment", "device-group"])
def test_a_policy_of_the_owner_is_applied_wherever_it_is_named(place, asked, folder, tmp_path, monkeypatch):
    path = folder / "policy.toml" if place == "device-group" else tmp_path / "mine.toml"
    path.write_text("units = ['shopper']")
    if place == "environment":
        monkeypatch.setenv(VARIABLE.format("POLICY"), str(path))
    reply = send(asked, folder, context_with({"policy": str(path)} if place == "node config" else {}))
    assert facts(reply) == {"protocol": 1, "round": 1, "answered": 0, "refused.unit-not-allowed": 3}
    assert unpack_reply(reply.content, from_arrays(asked[PARAMETERS_RECORD]), 1).refused == {Refusal.UNIT: 3}
    assert states(folder) == []


@pytest.mark.parametrize("named", ["", "policy.toml", "/nowhere/policy.toml"])
@pytest.mark.parametrize("place", ["node config", "environment"])
def test_everything_is_refused_if_the_named_policy_cannot_be_read(named, place, asked, folder, monkeypatch):
    """The same holds for a relative path, because an app's working directory holds what the server sent."""
    monkeypatch.chdir(folder)
    (folder / "policy.toml").write_text("")
    if place == "environment":
        monkeypatch.setenv(VARIABLE.format("POLICY"), named)
    reply = send(asked, folder, context_with({"policy": named} if place == "node config" else {}))
    assert facts(reply)["refused.no-usable-policy"] == 3


def test_a_run_config_cannot_name_a_policy(asked, folder, tmp_path):
    (tmp_path / "free.toml").write_text("")
    (folder / "policy.toml").write_text("units = ['shopper']")
    free = str(tmp_path / "free.toml")
    reply = send(asked, folder, context_with(run_config={"policy": free, VARIABLE: free}))
    assert facts(reply)["refused.unit-not-allowed"] == 3


# Errors


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
        (DeviceGroup, "book"),
        (DeviceGroup, "load_state"),
        (DeviceGroup, "answer"),
        (terrycloth.client.app, "open_group"),
        (terrycloth.client.app, "pack_reply"),
    ],
)
def test_an_error_that_leaves_contains_no_private_value(
    owner, name, asked, folder, monkeypatch, caplog, capfd
):
    monkeypatch.setattr(owner, name, raise_secret)
    with caplog.at_level(logging.DEBUG):
        reply = send(asked, folder)
    assert reply.has_error()
    assert not reply.has_content()
    assert reply.error.code == terrycloth.client.app.TRAINING_FAILED
    assert reply.error.reason == terrycloth.client.app.FAILED
    output = capfd.readouterr()
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "RuntimeError" in logged  # the owner can read it in the log
    for text in (reply.error.reason, logged, output.out, output.err):
        for part in (*SECRETS, str(folder)):
            assert part not in text


def test_the_check_of_errors_detects_a_message_that_is_passed_on(asked, folder, monkeypatch, caplog):
    monkeypatch.setattr(terrycloth.client.app, "own_frames", str)
    monkeypatch.setattr(OpacusTrainer, "train", raise_secret)
    with caplog.at_level(logging.DEBUG):
        send(asked, folder)
    assert SECRET in caplog.text


class Panic(BaseException):
    """An error as libraries written in Rust raise it, which no `except Exception` catches."""


def test_a_panic_is_an_error_like_any_other(asked, folder, monkeypatch):
    def panic(*args: object) -> None:
        raise Panic(SECRET)

    monkeypatch.setattr(OpacusTrainer, "train", panic)
    reply = send(asked, folder)
    assert reply.error.reason == terrycloth.client.app.FAILED


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_process(ending, asked, folder, monkeypatch):
    def end(*args: object) -> None:
        raise ending

    monkeypatch.setattr(OpacusTrainer, "train", end)
    with pytest.raises(ending):
        send(asked, folder)


def test_unusable_events_cause_no_error_and_no_log_record(asked, folder, held, caplog):
    held([1, 31_337], [-1, 31_337], [6, 6], weights=[1, 1, 1, 1, math.nan, 0]).save(folder / "events")
    asked[SETTINGS_RECORD]["sampling_rate"] = 0.5  # whatever the sampling draw picks
    with caplog.at_level(logging.DEBUG):
        for number in range(1, 9):
            asked[SETTINGS_RECORD]["round"] = number
            assert facts(send(asked, folder)) == {"protocol": 1, "round": number, "answered": 3}
    assert not [record for record in caplog.records if record.name.startswith(("client", "models"))]


def test_a_ledger_of_other_devices_is_refused(asked, folder, held):
    assert not send(asked, folder).has_error()
    held([1, 4, 4], [], [6], [2]).save(folder / "events")
    assert facts(send(asked, folder))["refused.ledger-corrupt"] == 4


# Keys


@pytest.mark.parametrize("place", ["node config", "environment"])
def test_the_owner_names_the_computing_device_that_trains_neural_cf(
    ask, build, folder, monkeypatch, place, caplog
):
    """A computing device that does not exist is an error like any other."""
    if place == "environment":
        monkeypatch.setenv(VARIABLE.format("TORCH_DEVICE"), "hpu")
    context = context_with({"torch_device": "hpu"} if place == "node config" else {})
    settings = ask(model="neural-cf")
    content = query_of(settings, build(settings))
    with caplog.at_level(logging.ERROR):
        reply = make_app(folder)(Message(content, 1, "train"), context)
    assert reply.error.reason == terrycloth.client.app.FAILED
    assert "vmap_trainer" in caplog.text


def test_no_key_appears_in_a_reply_a_log_or_an_error(asked, folder, monkeypatch, caplog, capfd):
    keys: list[bytes] = []

    def token_bytes(count: int) -> bytes:
        keys.append(os.urandom(count))
        return keys[-1]

    def tell(trainer: OpacusTrainer, cohort: Cohort, parameters: object) -> None:
        raise ValueError(f"{cohort.key.hex()} {cohort.key!r} {cohort!r}")

    monkeypatch.setattr("terrycloth.models.privacy.randomness.secrets.token_bytes", token_bytes)
    replies = []
    with caplog.at_level(logging.DEBUG):
        for number in (1, 2):
            asked[SETTINGS_RECORD]["round"] = number
            replies.append(send(asked, folder))
            monkeypatch.setattr(OpacusTrainer, "train", tell)
    assert [reply.has_error() for reply in replies] == [False, True]
    sent = b"".join(part.deflate() for part in get_all_nested_objects(replies[0].content).values())
    text = replies[1].error.reason + caplog.text + "".join(capfd.readouterr())
    text += "".join(str(record.__dict__) for record in caplog.records)
    assert len(set(keys)) == 4  # two for participation draws and two for training
    for key in keys:
        assert len(key) == KEY_BYTES
        assert key not in sent
        assert key.hex().encode() not in sent
        assert key.hex() not in text
        assert repr(key) not in text


# Refusals


def without(name):
    def change(content: RecordDict) -> None:
        del content[SETTINGS_RECORD][name]

    return change


def having(**values):
    def change(content: RecordDict) -> None:
        content[SETTINGS_RECORD].update(values)

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
        without("protocol"),
        having(protocol=2),
        having(unit="household"),
        having(trust="distributed"),  # kept for shoppers only
        having(least_devices=11),
        having(clip_quantile=0.5),  # allowed at shopper level only
        having(unit="none"),  # under a trust model that promises something
        having(unit="none", trust="none"),  # with noise, a clip and a budget that no unit uses
        having(unit="none", trust="none", noise_multiplier=0.0, clip=math.inf),
        having(unit="none", trust="none", epsilon=math.inf, clip=math.inf),
        having(trust="none"),
        having(trust="central"),
        having(send_events=True),
        having(noise_multiplier=-1.0),
        having(noise_multiplier=math.nan),
        having(noise_multiplier=math.inf),
        having(noise_multiplier=0.99e-6),  # it protects nothing, but claims an ε
        having(noise_multiplier=1.01e6),
        having(epsilon=math.nan),
        having(sampling_rate=1.5),
        having(steps_per_round=0),
        having(steps_per_round=65_536),
        having(model="package:Class"),
        having(clip="none"),
        having(clip=math.inf),  # with noise
        having(clip=1e-7),
        having(clip=1.01e6),
        having(learning_rate=1e7),
        having(learning_rate=math.inf),
        extra_record,
        no_parameters,
        no_settings,
    ],
)
def test_invalid_settings_are_refused_before_training(change, asked, folder, monkeypatch):
    monkeypatch.setattr(DeviceGroup, "answer", raise_secret)  # nothing may be trained
    change(asked)
    reply = send(asked, folder)
    assert not reply.has_error()
    expected = {"protocol": 1, "round": 1, "answered": 0, "refused.settings-unknown": 3}
    if change is no_settings:
        expected["round"] = 0
    assert facts(reply) == expected
    assert not reply.content[UPDATE_RECORD]
    assert not (folder / "state-0-of-1.safetensors").exists()


def test_parameters_of_other_shapes_are_refused(asked, folder):
    asked[PARAMETERS_RECORD] = to_arrays({"table.weight": torch.zeros(2, 3)})
    assert facts(send(asked, folder))["refused.model-mismatch"] == 3


def test_parameters_of_another_precision_are_refused(asked, folder):
    arrays = {name: array.numpy().astype(np.float64) for name, array in asked[PARAMETERS_RECORD].items()}
    asked[PARAMETERS_RECORD] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    reply = send(asked, folder)
    assert facts(reply) == {"protocol": 1, "round": 1, "answered": 0, "refused.model-mismatch": 3}
    assert states(folder) == []


def test_the_path_of_a_missing_folder_is_not_revealed(asked, tmp_path, caplog):
    reply = send(asked, tmp_path / SECRET)
    assert reply.has_error()
    assert SECRETS[0] not in reply.error.reason + caplog.text


def test_replies_use_flowers_record_types(asked, folder):
    reply = send(asked, folder)
    assert isinstance(reply.content[UPDATE_RECORD], ArrayRecord)
    assert isinstance(reply.content[REPLY_RECORD], ConfigRecord)
