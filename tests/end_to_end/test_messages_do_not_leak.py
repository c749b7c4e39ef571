"""All bytes that leave a node in a small federation are recorded and searched for what devices hold."""

import logging
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

import terrycloth.client.app
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.state import DeviceState
from terrycloth.experiments.engines.in_process import InProcessGrid
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import simulate
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import (
    PARAMETERS_RECORD,
    REPLY_RECORD,
    UPDATE_RECORD,
    InvalidReply,
    from_arrays,
    unpack_reply,
)
from tests.policies import ANYTHING
from tests.raw_events import Search, event_needles, every_byte, key_needles, leaks, vector_needles

DEVICES, NODES, ROUNDS, SEED, LEAKY_SEED = 40, 4, 3, 5, 0


# Recording a run


@dataclass
class Recording:
    """A finished run, all its messages, and what its devices held."""

    folder: RunFolder
    requests: list[Message] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)
    vectors: list[torch.Tensor] = field(default_factory=list)  # of all devices, after each round
    keys: set[bytes] = field(default_factory=set)
    logged: list[str] = field(default_factory=list)

    @property
    def events(self) -> Events:
        return Events.load(self.folder.devices / "events")

    @cached_property
    def needles(self) -> set[bytes]:
        return event_needles(self.events).union(key_needles(self.keys), *map(vector_needles, self.vectors))


class Listener(logging.Handler):
    """Keep every record's text, arguments and exception."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(f"{record.getMessage()} {record.__dict__}")


def all_states(folder: Path) -> list[DeviceState]:
    return [DeviceState.load(file) for file in sorted(folder.glob("state-*.safetensors"))]


def record_run(config: RunConfig, out: Path) -> Recording:
    recording = Recording(RunFolder(out))
    listener = Listener(recording.logged)
    real, draw = InProcessGrid.push_messages, DeviceGroup.new_key

    def push(grid: InProcessGrid, messages: Iterable[Message]) -> Iterable[str]:
        asked = list(messages)
        recording.requests += asked
        pushed = list(real(grid, asked))
        recording.replies += [grid._replies[message_id] for message_id in pushed]
        states = all_states(recording.folder.devices)
        recording.vectors.append(torch.cat([state.vectors for state in states]))
        return pushed

    def new_key(group: DeviceGroup) -> bytes:
        key = draw(group)
        recording.keys.add(key)
        return key

    root = logging.getLogger()
    level = root.level
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        patched.setattr(InProcessGrid, "push_messages", push)
        patched.setattr(DeviceGroup, "new_key", new_key)
        root.addHandler(listener)
        root.setLevel(logging.DEBUG)
        try:
            simulate(config, out)
        finally:
            root.removeHandler(listener)
            root.setLevel(level)
    recording.logged += [str(warning.message) for warning in warned]
    return recording


def run_config(unit: str, seed: int | None) -> RunConfig:
    """Return settings for four nodes of ten devices, which miss many of the rounds."""
    promise: dict[str, Any] = {"noise_multiplier": 1.5} if unit == "interaction" else {}
    return RunConfig(
        data="towels", devices=DEVICES, model="attributes", own_rows=True, unit=unit,
        rounds=ROUNDS, participation=0.6, nodes=NODES, seed=seed, central=False, evaluate_every=1,
        server_optimizer="adam", **promise,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["interaction", "none"])
def recording(request, tmp_path_factory) -> Recording:
    """The run is seeded, so that its public participation draws can be repeated."""
    return record_run(run_config(request.param, SEED), tmp_path_factory.mktemp("recorded") / "run")


@pytest.fixture(scope="module")
def search(recording) -> Search:
    return Search(recording.needles)


def shared(recording: Recording) -> Parameters:
    return from_arrays(recording.requests[0].content[PARAMETERS_RECORD])


@pytest.mark.slow
def test_the_recording_is_complete_and_the_search_finds_each_kind_of_data(recording, search):
    assert len(recording.requests) == len(recording.replies) == NODES * ROUNDS
    assert not any(reply.has_error() for reply in recording.replies)
    events = recording.events
    assert len(recording.needles) > 1_000
    rich = int(np.argmax(events.counts))
    own = events.span(rich, rich + 1)
    for leak in (own.items.tobytes(), own.items.astype(np.float32).tobytes(), own.times[-1:].tobytes()):
        assert search.found(b"before" + leak + b"after")
    for vectors in recording.vectors:
        row = vectors[vectors.any(dim=1)][0].numpy()
        assert search.found(b"x" + row.tobytes())
        assert search.found(b"xyz" + row[2:4].astype(np.float64).tobytes())
    assert recording.keys == {seeded_key(SEED)}
    for key in recording.keys:
        assert search.found(b"x" + key)
        assert search.found(f"key={key!r}".encode())
    assert search.found(repr(own.items.tolist()).encode())
    assert not search.found(np.random.default_rng(0).bytes(2**20))


@pytest.mark.slow
def test_a_reply_holds_the_update_and_public_facts_only(recording, search):
    for number, reply in enumerate(recording.replies):
        assert leaks(reply.content, shared(recording), number // NODES + 1, search, DEVICES) == []


def test_the_header_of_a_message_reveals_nothing(recording, search):
    """Flower's own header of a reply holds addresses and times of sending, whatever a device holds."""
    for reply in recording.replies:
        header = {name: value for name, value in vars(reply.metadata).items() if value}
        assert not search.found(repr(header).encode())


def test_all_replies_of_nodes_with_participants_have_one_size(recording):
    sizes = {
        sum(len(part.deflate()) for part in get_all_nested_objects(reply.content).values())
        for reply in recording.replies
        if reply.content[REPLY_RECORD]["answered"]
    }
    assert len(sizes) == 1


def test_the_number_of_answers_follows_from_the_participation_draws(recording):
    facts_sent = [dict(reply.content[REPLY_RECORD]) for reply in recording.replies]
    nodes = [request.metadata.dst_node_id for request in recording.requests]  # 1 … n in any order
    for facts, node in zip(facts_sent, nodes, strict=True):
        draws = DeviceGroup(recording.folder.devices, node - 1, NODES).participation_draws(facts["round"])
        assert facts["answered"] == int((draws < 0.6).sum())
    assert len({facts["answered"] for facts in facts_sent}) > 1


def test_no_log_record_and_no_warning_reveals_data_of_a_device(recording, search):
    assert not search.found("\n".join(recording.logged).encode())
    # A count is too short to search for; but a device that trains without an error logs nothing at all.
    assert not [line for line in recording.logged if "'name': 'client" in line or "'name': 'models" in line]


def test_no_file_outside_the_folder_of_devices_reveals_their_data(recording, search):
    folder = recording.folder
    files = [file for file in folder.path.rglob("*") if file.is_file()]
    outside = [file for file in files if folder.devices not in file.parents]
    assert {file.name for file in outside} >= {
        "checkpoint.safetensors", "model.safetensors", "result.json", "rounds.csv", "config.toml",
    }  # fmt: skip
    for file in outside:
        assert not search.found(file.read_bytes()), file.name
    assert not search.found("\n".join(str(file) for file in files).encode())
    inside = [file for file in files if folder.devices in file.parents]
    # The data are in here, and the search finds them.
    assert any(search.found(file.read_bytes()) for file in inside)


@pytest.mark.slow
def test_no_key_is_left_in_any_file(tmp_path):
    """The run is not seeded, as a private run is."""
    recording = record_run(run_config("interaction", None), tmp_path / "run")
    trained = [reply for reply in recording.replies if reply.content[REPLY_RECORD]["answered"]]
    assert len(recording.keys) == NODES * ROUNDS + len(trained)  # for participation draws and for training
    search = Search(key_needles(recording.keys))
    assert all(search.found(b"xyz" + key) and search.found(key.hex().encode()) for key in recording.keys)
    files = [file for file in recording.folder.path.rglob("*") if file.is_file()]
    assert len([file for file in files if file.name.startswith("state-")]) >= NODES
    for file in files:
        assert not search.found(file.read_bytes()), file.name
    for message in (*recording.requests, *recording.replies):
        assert not search.found(every_byte(message.content))
    assert not search.found("\n".join(recording.logged).encode())


def test_the_checkpoint_holds_shared_parameters_and_moments_of_their_shapes(recording):
    from safetensors import safe_open

    with safe_open(recording.folder.path / "checkpoint.safetensors", framework="pt") as file:
        names = set(file.keys())
        sizes = {tuple(file.get_tensor(name).shape) for name in names}
    assert {name.split("/")[0] for name in names} == {"parameter", "optimizer"}
    assert sizes <= {(), *(tuple(tensor.shape) for tensor in shared(recording).values())}


# The form of a reply does not depend on what a device holds


def ask_once(folder: Path, content: RecordDict) -> Message:
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return terrycloth.client.app.make_app(folder)(Message(content, 1, "train"), context)


def test_the_form_of_a_reply_does_not_depend_on_the_events(recording, tmp_path):
    catalogue = Catalogue.load(recording.folder.catalogue)
    count = len(catalogue)
    nothing = np.empty(0, dtype=np.int64)
    much = np.arange(3_000)
    holdings = {
        "empty": Events.from_columns(nothing, nothing, nothing, nothing, 3),
        "one": Events.from_columns(np.array([1]), np.array([4]), np.array([5]), np.array([1.0]), 3),
        "much": Events.from_columns(much % 3, much % count, much, 1.0 + much, 3),
    }
    looks = set()
    for name, events in holdings.items():
        DeviceGroup.create(tmp_path / name, catalogue, events, ANYTHING)
        reply = ask_once(tmp_path / name, recording.requests[0].content)
        parts = get_all_nested_objects(reply.content).values()
        looks.add(
            (
                reply.has_error(),
                tuple(sorted(len(part.deflate()) for part in parts)),
                tuple(sorted((n, a.dtype, tuple(a.shape)) for n, a in reply.content[UPDATE_RECORD].items())),
                repr(sorted(reply.content[REPLY_RECORD])),
                sum(len(array.data) for array in reply.content[UPDATE_RECORD].values()),
            )
        )
        # A reply has one form with participants and one without: participation draws of different keys
        # differ.
    assert len(looks) <= 2
    sizes = {look[-1] for look in looks} - {0}
    assert len(sizes) <= 1


# A leaky app is detected


def trained(state: DeviceState) -> torch.Tensor:
    """Return the vectors of the devices that took part."""
    return state.vectors[torch.from_numpy(state.took_part)]


def count_of_events(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply["metrics"] = MetricRecord({"num-examples": len(events)})


def count_as_a_fact(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply[REPLY_RECORD]["num-examples"] = len(events)


def loss_as_a_fact(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply[REPLY_RECORD]["train-loss"] = 0.25


def vector_as_an_array(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply[UPDATE_RECORD]["shopper.weight"] = Array(trained(state)[:1].numpy())


def events_as_a_record(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply["events"] = ConfigRecord({"items": events.items.tolist()})


def vector_inside_an_array(reply: RecordDict, events: Events, state: DeviceState) -> None:
    name = next(name for name in reply[UPDATE_RECORD] if name.startswith("table"))
    table = reply[UPDATE_RECORD][name].numpy().copy()
    table[-1] = trained(state)[0].numpy()
    reply[UPDATE_RECORD][name] = Array(table)


def events_behind_an_array(reply: RecordDict, events: Events, state: DeviceState) -> None:
    array = reply[UPDATE_RECORD]["bias.weight"]
    data = array.data + events.items.tobytes()
    reply[UPDATE_RECORD]["bias.weight"] = Array(array.dtype, tuple(array.shape), array.stype, data)


def key_as_a_fact(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply[REPLY_RECORD]["key"] = seeded_key(LEAKY_SEED)


def time_as_a_round(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply[REPLY_RECORD]["round"] = int(events.times[0])


def count_as_a_refusal(reply: RecordDict, events: Events, state: DeviceState) -> None:
    reply[REPLY_RECORD]["refused.events"] = 3


Leak = Callable[[RecordDict, Events, DeviceState], None]
CAUGHT_BY_BOTH: list[tuple[Leak, str]] = [
    (count_of_events, "record"),
    (count_as_a_fact, "fact"),
    (loss_as_a_fact, "fact"),
    (vector_as_an_array, "array"),
    (events_as_a_record, "bytes"),
    (events_behind_an_array, "size"),
    (events_behind_an_array, "bytes"),
    (key_as_a_fact, "fact"),
    (key_as_a_fact, "bytes"),
    (time_as_a_round, "round"),
    (count_as_a_refusal, "fact"),
]


def leaky_reply(leak: Leak, recording: Recording, tmp_path: Path, monkeypatch) -> tuple[RecordDict, Search]:
    """Return a reply of a leaky app, and a search for what its devices hold."""
    events, group = recording.events.span(0, 10), tmp_path / "device-group"
    DeviceGroup.create(group, Catalogue.load(recording.folder.catalogue), events, ANYTHING, seed=LEAKY_SEED)
    real = terrycloth.client.app.pack_reply

    def pack(reply: Any) -> RecordDict:
        packed = real(reply)
        leak(packed, events, *all_states(group))  # an answer is stored before it leaves
        return packed

    monkeypatch.setattr(terrycloth.client.app, "pack_reply", pack)
    reply = ask_once(group, recording.requests[0].content)
    assert not reply.has_error()
    (state,) = all_states(group)
    needles = event_needles(events) | vector_needles(state.vectors) | key_needles([seeded_key(LEAKY_SEED)])
    return reply.content, Search(needles)


@pytest.mark.parametrize(("leak", "reason"), CAUGHT_BY_BOTH)
def test_a_leak_is_detected_and_refused(leak, reason, recording, tmp_path, monkeypatch):
    content, search = leaky_reply(leak, recording, tmp_path, monkeypatch)
    assert reason in leaks(content, shared(recording), 1, search, DEVICES)
    with pytest.raises(InvalidReply):
        unpack_reply(content, shared(recording), 1)


def test_a_leak_inside_an_array_is_detected(recording, tmp_path, monkeypatch):
    """Only the search finds it: to a server the numbers of an update are as good as any other."""
    content, search = leaky_reply(vector_inside_an_array, recording, tmp_path, monkeypatch)
    assert "bytes" in leaks(content, shared(recording), 1, search, DEVICES)


def test_an_honest_reply_passes_the_search_and_the_server(recording, tmp_path, monkeypatch):
    content, search = leaky_reply(lambda *rest: None, recording, tmp_path, monkeypatch)
    assert leaks(content, shared(recording), 1, search, DEVICES) == []
    assert unpack_reply(content, shared(recording), 1).answered > 0
