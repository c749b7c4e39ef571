"""All that devices and server say and hear inside TLS, in a whole run of `terry federation up`.

Both ends are recorded: every body of a request and of an answer, at the device and behind the server's two
listeners, and every message as the device's app has it. What the devices' stores hold is searched for.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto
from flwr.proto.recorddict_pb2 import RecordDict as RecordDictProto

from terrycloth.client.events import Events
from terrycloth.client.store import DeviceStore
from terrycloth.experiments.federation import processes
from terrycloth.experiments.federation.layout import FederationSettings, Layout
from terrycloth.experiments.federation.ports import free_ports
from terrycloth.experiments.runs import federated
from terrycloth.experiments.runs.run_folder import RunFolder
from terrycloth.experiments.runs.simulation import Reporter
from terrycloth.experiments.settings.config import RunConfig
from terrycloth.models.catalogue import ITEM, Catalogue
from terrycloth.models.privacy.randomness import seeded_key
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.update import (
    PARAMETERS_RECORD,
    REPLY_RECORD,
    SETTINGS_RECORD,
    UPDATE_RECORD,
    from_arrays,
)
from tests.raw_events import Search, event_needles, every_byte, key_needles, leaks, vector_needles
from tests.recorded_launch import VARIABLE, recorded

pytestmark = [pytest.mark.federation, pytest.mark.slow]

DEVICES, ROUNDS, SEED = 3, 2, 5
ENDS = ("device: up", "device: down", "server: up", "server: down")


@dataclass
class Recording:
    """A finished run, and all that was said in it."""

    folder: RunFolder
    parts: dict[str, list[bytes]]

    @property
    def stores(self) -> list[DeviceStore]:
        return [DeviceStore(device) for device in Layout(self.folder.path).devices]

    def messages(self, kind: str) -> list[RecordDict]:
        return [recorddict_from_proto(RecordDictProto.FromString(part)) for part in self.parts[kind]]

    @cached_property
    def events(self) -> Events:
        items = {item: place for place, item in enumerate(Catalogue.load(self.folder.catalogue).table[ITEM])}
        rows = [
            (device, items[item], time, weight)
            for device, store in enumerate(self.stores)
            for item, time, weight in store.held()
        ]
        return Events.from_columns(*map(np.array, zip(*rows, strict=True)), DEVICES)

    @cached_property
    def vectors(self) -> list[torch.Tensor]:
        return [torch.frombuffer(bytearray(part), dtype=torch.float32) for part in self.parts["vectors"]]

    @cached_property
    def search(self) -> Search:
        keys = [bytes.fromhex(json.loads((store.folder / "store.key").read_text())["key"])
                for store in self.stores]  # fmt: skip
        needles = event_needles(self.events) | key_needles([seeded_key(SEED), *keys])
        return Search(needles.union(*(vector_needles(vector[None]) for vector in self.vectors)))

    @property
    def shared(self) -> Parameters:
        return from_arrays(self.messages("request")[0][PARAMETERS_RECORD])


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    home = tmp_path_factory.mktemp("recorded")
    (home / "said").mkdir()
    config = RunConfig(
        data="towels", devices=DEVICES, nodes=DEVICES, model="attributes", unit="interaction",
        noise_multiplier=1.5, rounds=ROUNDS, engine="federation", trainer="reference", seed=SEED,
        central=False, evaluate_every=0,
    )  # fmt: skip
    port, operator_port = free_ports(None, None)
    settings = FederationSettings(port=port, operator_port=operator_port, timeout=60.0, nodes=DEVICES)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(VARIABLE, str(home / "said"))
        patched.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]), prepend=":")
        patched.setattr(processes, "LAUNCH", "tests.recorded_launch")
        folder = federated.up(config, settings, home / "run", Reporter())
    return Recording(folder, recorded(home / "said"))


def test_the_recording_is_complete_at_both_ends(recording):
    """Each update is found in what the device sent, in what the server got, and in what its app was given."""
    replies = recording.messages("reply")
    assert len(replies) == len(recording.messages("request")) == DEVICES * ROUNDS
    everything = {end: b"\xff".join(recording.parts[end]) for end in ENDS}
    for reply in replies:
        assert reply[REPLY_RECORD]["answered"] == 1
        for array in reply[UPDATE_RECORD].values():
            for end in ("device: up", "server: up", "server: down"):
                assert array.data in everything[end]
    for request in recording.messages("request"):
        for array in request[PARAMETERS_RECORD].values():
            for end in ("server: up", "server: down", "device: down"):
                assert array.data in everything[end]


def test_the_search_finds_each_kind_of_data(recording):
    assert len(recording.vectors) == DEVICES * ROUNDS
    for device in range(DEVICES):
        own = recording.events.span(device, device + 1)
        for leak in (own.items.tobytes(), own.times[:1].tobytes(), str(own.items.tolist()).encode()):
            assert recording.search.found(b"before" + leak + b"after")
    for vector in recording.vectors:
        assert vector.any()
        assert recording.search.found(b"x" + vector.numpy().tobytes())


def test_a_reply_holds_the_update_and_public_facts_and_a_request_settings(recording):
    rounds = [request[SETTINGS_RECORD]["round"] for request in recording.messages("request")]
    assert sorted(rounds) == [1] * DEVICES + [2] * DEVICES
    for round, reply in zip(rounds, recording.messages("reply"), strict=True):
        assert leaks(reply, recording.shared, round, recording.search, DEVICES) == []
    for request in recording.messages("request"):
        assert set(request) == {PARAMETERS_RECORD, SETTINGS_RECORD}
        assert not recording.search.found(every_byte(request))


@pytest.mark.parametrize("end", ENDS)
def test_no_byte_that_anybody_says_or_hears_reveals_what_a_device_holds(recording, end):
    assert not recording.search.found(b"\xff".join(recording.parts[end]))
    names = {item.encode() for store in recording.stores for item, _, _ in store.held()}
    assert names
    for part in recording.parts[end]:
        assert not any(name in part for name in names)


def test_all_updates_have_one_size(recording):
    sizes = {len(every_byte(reply)) for reply in recording.messages("reply")}
    assert len(sizes) == 1
