"""Secure aggregation in the two Flower apps: the sum is exact whoever drops out, or nothing is released."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

import terrycloth.client.app
import terrycloth.client.device_group
from terrycloth.client.device_group import DeviceGroup
from terrycloth.client.events import Events
from terrycloth.client.policy import Policy
from terrycloth.client.secure.identity import Identity
from terrycloth.client.secure.secure_round import lay_out_identities
from terrycloth.client.state import DeviceState
from terrycloth.client.training.cohort import Cohort
from terrycloth.client.training.trainers import trainer_for
from terrycloth.experiments.datasets import load
from terrycloth.experiments.datasets.dataset import DataOptions
from terrycloth.experiments.engines.in_process import InProcessGrid
from terrycloth.models.catalogue import Catalogue
from terrycloth.models.errors import UserError
from terrycloth.models.recommenders.build import build_model
from terrycloth.models.recommenders.recommender import Parameters, Recommender
from terrycloth.models.secure_aggregation.exchange import (
    ADVERTISE,
    CONFIRM,
    EXCHANGE_RECORD,
    MASK,
    MESSAGE_RECORD,
    SHARE,
    STAGES,
    UNMASK,
)
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import to_arrays
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import LEFT_OUT, FederatedSum, RoundObserver
from tests.models.test_settings import VALID

MAJORITY = Policy(least_agreement=0.5)  # no node may collude, and nearly half may drop out
PLAIN_SUM = {"server_optimizer": "sgd", "server_learning_rate": 1.0, "server_momentum": 0.0}


@pytest.fixture(autouse=True)
def superlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a SuperLink sets for a process that runs an app."""
    for name, value in (("_task_id", 1), ("_run_id", 1), ("_node_id", SUPERLINK_NODE_ID)):
        monkeypatch.setattr(TaskIdentity, name, value)


class Federation:
    """Towel shoppers with one device behind each node, and a server that loses some of them."""

    def __init__(self, folder: Path, nodes: int, **settings: Any) -> None:
        dataset = load("towels", DataOptions(devices=nodes))
        self.folder, self.nodes = folder / "device-group", nodes
        self.events: Events = dataset.events
        self.catalogue: Catalogue = dataset.catalogue
        DeviceGroup.create(self.folder, self.catalogue, self.events, MAJORITY)
        lay_out_identities(self.folder, nodes)
        values = {
            "round": 1, "rounds": 1, "model": "attributes", "unit": "shopper", "trust": "distributed",
            "devices": nodes, "least_devices": max(2, nodes // 4), "participation": 1.0, "epsilon": math.inf,
            "noise_multiplier": 0.0, "clip": 0.5, "agreement": 0.5,
        }  # fmt: skip
        self.settings = RoundSettings.model_validate(VALID | values | settings)
        self.model = build_model("attributes", self.catalogue, dim=8, own_rows=False, item_bias=True)
        self.model.initialise(0)
        self.start = {name: tensor.clone() for name, tensor in self.model.shared_parameters().items()}

    def run(
        self,
        gone: Mapping[int, Iterable[int]] | None = None,
        grid: type | None = None,
        on_round: RoundObserver | None = None,
        rounds: int = 1,
        **server: Any,
    ):
        """Run the first rounds, with node k lost from the stage on whose key lists it."""
        app = terrycloth.client.app.make_app(self.folder)
        grid_ = (grid or LosingGrid)(app, self.nodes, gone or {})
        told = ServerSettings.model_validate({"catalogue": "c", "nodes": self.nodes, **PLAIN_SUM, **server})
        strategy = FederatedSum(self.start, self.settings, told, on_round)
        strategy.start(grid_, to_arrays(self.start), num_rounds=rounds, timeout=told.timeout)
        final = strategy.shared()
        return {name: final[name] - self.start[name] for name in final}, strategy.progress.records

    def states(self) -> list[DeviceState]:
        return [DeviceState.load(path) for path in sorted(self.folder.glob("state-*.safetensors"))]


def plain_sum(model: Recommender, events: Events, devices: Iterable[int], asked: RoundSettings) -> Parameters:
    """Return the sum of the clipped updates of some devices, over the number of all devices."""
    chosen = np.array(sorted(devices))
    settings = RoundSettings.model_validate(asked.model_dump() | {"trust": "central"})
    cohort = Cohort(chosen, events.take(chosen), torch.zeros(len(chosen), model.dim), bytes(32), 1)
    start = {name: tensor.clone() for name, tensor in model.shared_parameters().items()}
    total, _ = trainer_for(model, settings).train(cohort, start)
    return {name: tensor / asked.devices for name, tensor in total.items()}


def is_the_sum(moved: Parameters, plain: Parameters, devices: int, settings: RoundSettings) -> None:
    """Check that the sum is exact to half a step of the grid for each device."""
    grid = fixed_point(settings, sum(tensor.numel() for tensor in plain.values()))
    for name, tensor in plain.items():
        assert tensor.abs().max() > 100 * grid.step / settings.devices
        off = (moved[name].double() - tensor.double()).abs().max()
        assert off <= (0.5 * devices + 1) * grid.step / settings.devices


class LosingGrid(InProcessGrid):
    """A grid that loses nodes for good before they answer a stage."""

    def __init__(self, app, nodes: int, gone: Mapping[int, Iterable[int]]) -> None:
        super().__init__(app, {}, nodes)
        self.gone = {stage: set(lost) for stage, lost in gone.items()}
        self.lost: set[int] = set()
        self.sent: list[Message] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None):
        messages = list(messages)
        for message in messages:
            self.lost |= self.gone.get(stage_of(message), set())
        self.sent += messages
        heard = [message for message in messages if message.metadata.dst_node_id - 1 not in self.lost]
        return super().send_and_receive(heard, timeout=timeout)


def stage_of(message: Message) -> int:
    exchange = message.content[EXCHANGE_RECORD]
    assert isinstance(exchange, ConfigRecord)
    stage = exchange["stage"]
    assert isinstance(stage, int)
    return stage


def check(federation: Federation, gone: Mapping[int, Iterable[int]]) -> None:
    """Check that the sum covers all nodes whose masked vectors arrived, to half a step for each device."""
    moved, (record,) = federation.run(gone)
    lost = {node for stage in (ADVERTISE, SHARE, MASK) for node in gone.get(stage, ())}
    inside = set(range(federation.nodes)) - lost
    assert record.answered == len(inside)
    assert not record.invalid
    plain = plain_sum(federation.model, federation.events, inside, federation.settings)
    is_the_sum(moved, plain, len(inside), federation.settings)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [None, *STAGES])
def test_the_sum_is_the_plain_sum_if_nodes_drop_out_at_a_stage(stage, tmp_path) -> None:
    check(Federation(tmp_path, 10), {} if stage is None else {stage: {1, 6}})


@pytest.mark.slow
def test_nodes_may_drop_out_at_every_stage_of_one_round(tmp_path) -> None:
    """10 → 9 adverts → 8 → 7 → 6 confirm → 5 unmask: five of nine must confirm, four shares open a secret."""
    check(Federation(tmp_path, 10), {stage: {stage} for stage in STAGES})


@pytest.mark.slow
def test_a_fifth_of_a_hundred_devices_may_drop_out_at_every_stage(tmp_path) -> None:
    """100 → 80 adverts → 64 → 51 → 41 confirm, a majority of 80 → 33 unmask."""
    federation = Federation(tmp_path, 100)
    left, gone = list(range(100)), {}
    for stage in STAGES:
        number = len(left) // 5
        gone[stage], left = left[:number], left[number:]
    assert [len(lost) for lost in gone.values()] == [20, 16, 12, 10, 8]
    check(federation, gone)


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_released_in_a_round_that_loses_too_many_nodes(stage, tmp_path) -> None:
    federation = Federation(tmp_path, 6)
    moved, (record,) = federation.run({stage: {0, 1, 2, 3}})
    assert all(not tensor.any() for tensor in moved.values())
    assert record.answered == 0
    assert list(record.invalid.values()) == [1]
    assert all(reason.startswith("secure aggregation: ") for reason in record.invalid)
    # What devices recorded stays recorded: a crash may count too much, but never too little.
    booked = [int(state.ledger.steps.sum()) for state in federation.states()]
    assert booked == [1] * (2 if stage == ADVERTISE else 6)


def test_each_session_trains_and_records_anew_and_stores_no_answer(tmp_path) -> None:
    """The two sums of one query in two sessions are over different nodes, and must not share their noise."""
    federation = Federation(tmp_path, 4, noise_multiplier=2.0, rounds=2)
    first, _ = federation.run()
    second, _ = federation.run()
    assert all(not torch.equal(first[name], second[name]) for name in first)
    for state in federation.states():
        assert state.ledger.steps.tolist() == [[2]]
        assert state.update == {}
    assert len(list(federation.folder.glob("session-*.json"))) == 4


def test_a_stage_is_answered_once(tmp_path) -> None:
    """A server that repeats a message exactly is refused at every stage."""
    federation = Federation(tmp_path, 4)

    class RepeatingGrid(LosingGrid):
        refused: ClassVar[list[int]] = []

        def send_and_receive(self, messages, *, timeout=None):
            messages = list(messages)
            replies = super().send_and_receive(messages, timeout=timeout)
            for reply in super().send_and_receive(messages, timeout=timeout):
                if EXCHANGE_RECORD not in reply.content:
                    self.refused.append(stage_of(messages[0]))
            return replies

    federation.run(grid=RepeatingGrid)
    # If asked to advertise again before it has masked, a node begins anew, and the session it had begun is
    # over.
    assert set(RepeatingGrid.refused) >= {SHARE}


def test_the_vector_that_leaves_a_node_is_masked(tmp_path, monkeypatch) -> None:
    """The vector that is sent is neither equal nor close to the steps that were trained."""
    trained: list[torch.Tensor] = []
    real = DeviceGroup.train

    def train(self, state, request):
        real(self, state, request)
        trained.append(state.update["steps"].clone())

    monkeypatch.setattr(DeviceGroup, "train", train)
    federation = Federation(tmp_path, 4)
    seen: list[torch.Tensor] = []

    class SpyingGrid(LosingGrid):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(super().send_and_receive(messages, timeout=timeout))
            for reply in replies:
                if "update" in reply.content:
                    seen.append(torch.from_numpy(np.array(reply.content["update"]["steps"].numpy())))
            return replies

    federation.run(grid=SpyingGrid)
    assert len(seen) == len(trained) == 4
    for masked in seen:
        assert masked.dtype == torch.int32
        # Values uniform on 32 bits have a mean magnitude of 2³⁰, and no update reaches 2²⁰.
        assert 0.9 * 2**30 < masked.double().abs().mean() < 1.1 * 2**30
        assert all((masked == steps).double().mean() < 0.01 for steps in trained)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_device_whose_training_fails_is_in_the_sum_as_if_it_held_nothing(
    rounds, tmp_path, monkeypatch
) -> None:
    """This holds for all five messages, which every node answers like any other."""
    federation = Federation(tmp_path, 5, rounds=rounds)
    real = terrycloth.client.device_group.trainer_for

    class Failing:
        def __init__(self, *rest: Any) -> None:
            self.trainer = real(*rest)

        def train(self, cohort: Cohort, parameters: Parameters) -> Any:
            if 3 in cohort.devices and len(cohort.events):
                raise MemoryError
            return self.trainer.train(cohort, parameters)

    monkeypatch.setattr(terrycloth.client.device_group, "trainer_for", Failing)
    stages: list[list[int]] = []

    class CountingGrid(LosingGrid):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(super().send_and_receive(messages, timeout=timeout))
            if replies:
                stages.append([EXCHANGE_RECORD in reply.content for reply in replies])
            return replies

    moved, records = federation.run(grid=CountingGrid, rounds=rounds)
    assert stages == [[True] * 5] * 5 * rounds
    assert [(record.answered, record.refused, record.invalid) for record in records] == [(5, {}, {})] * rounds
    if rounds == 1:
        plain = plain_sum(federation.model, federation.events, {0, 1, 2, 4}, federation.settings)
        is_the_sum(moved, plain, 5, federation.settings)


@pytest.mark.parametrize(
    ("key", "reason"), [("most_items", "too-many-items"), ("most_bytes", "reply-too-large")]
)
def test_a_sum_above_a_size_limit_of_the_owner_is_refused_before_it_is_recorded(
    key, reason, tmp_path
) -> None:
    federation = Federation(tmp_path, 4)
    (federation.folder / "policy.toml").write_text(f"least_agreement = 0.5\n{key} = 10")
    _, (record,) = federation.run()
    assert record.refused == {reason: 4}
    assert federation.states() == []


def changing_messages(change: Any) -> type:
    """Return a grid that changes the messages to nodes on their way."""

    class LyingGrid(LosingGrid):
        def send_and_receive(self, messages, *, timeout=None):
            messages = list(messages)
            for message in messages:
                change(message)
            return super().send_and_receive(messages, timeout=timeout)

    return LyingGrid


def less_noise_than_recorded(message: Message) -> None:
    if stage_of(message) == MASK:
        message.content["config"]["noise_multiplier"] = 0.001


def other_parameters(message: Message) -> None:
    if stage_of(message) == MASK:
        array = message.content["arrays"]["table.weight"]
        array.data = array.data[:-4] + b"\0\0\0\0"


def another_session(message: Message) -> None:
    if stage_of(message) == CONFIRM:
        message.content[EXCHANGE_RECORD]["session"] = bytes(32)


def a_list_without_its_last(message: Message) -> None:
    if stage_of(message) == UNMASK:
        record = message.content[MESSAGE_RECORD]
        record["confirmed"] = record["confirmed"][:1]
        record["signatures"] = record["signatures"][:1]


@pytest.mark.parametrize(
    "change", [less_noise_than_recorded, other_parameters, another_session, a_list_without_its_last]
)
def test_nodes_refuse_a_server_that_changes_messages(change, tmp_path) -> None:
    federation = Federation(tmp_path, 4, noise_multiplier=2.0, epsilon=50.0)
    moved, (record,) = federation.run(grid=changing_messages(change))
    assert all(not tensor.any() for tensor in moved.values())
    assert record.refused == {"secure-aggregation-unsound": 4}


def test_a_query_without_secure_aggregation_is_refused(tmp_path) -> None:
    """Without masks a node would show its own sum, which only devices laid out for a simulation do."""
    federation = Federation(tmp_path, 4, secure_aggregation=False)
    _, (record,) = federation.run(grid=InProcess)
    assert record.refused == {"masks-required": 4}
    assert record.answered == 0


class InProcess(InProcessGrid):
    def __init__(self, app, nodes: int, gone: object) -> None:
        super().__init__(app, {}, nodes)


def corrupting(stage: int, corrupt: Any, rounds: Iterable[int] = range(1, 10)) -> type:
    """Return a grid that corrupts the last node's answers to one stage in these rounds."""

    class SpoilingGrid(LosingGrid):
        def send_and_receive(self, messages, *, timeout=None):
            messages = list(messages)
            replies = list(super().send_and_receive(messages, timeout=timeout))
            for reply in replies:
                exchange = reply.content.get(EXCHANGE_RECORD, {})
                last = reply.metadata.src_node_id == len(self._contexts)
                if last and exchange.get("stage") == stage and exchange["round"] in rounds:
                    corrupt(reply.content)
            return replies

    return SpoilingGrid


def forged(content: RecordDict) -> None:
    content[MESSAGE_RECORD]["signature"] = b"forged"


def unreadable(content: RecordDict) -> None:
    del content[MESSAGE_RECORD]


def garbled(content: RecordDict) -> None:
    content[MESSAGE_RECORD]["ciphertexts"] = [bytes(len(c)) for c in content[MESSAGE_RECORD]["ciphertexts"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "corrupt", "reason", "answered"),
    [
        (ADVERTISE, forged, "advert not signed for this task", 4),
        (ADVERTISE, unreadable, "unknown record", 4),
        (MASK, forged, "lists not signed", 4),
        (CONFIRM, forged, "lists not signed", 5),
    ],
)
def test_a_node_whose_answer_fails_a_check_is_left_out_of_later_rounds(
    stage, corrupt, reason, answered, tmp_path, caplog
) -> None:
    federation = Federation(tmp_path, 5, rounds=3)
    _, records = federation.run(grid=corrupting(stage, corrupt, rounds=[1]), rounds=3)
    assert [record.answered for record in records] == [answered, 4, 4]
    assert [record.invalid for record in records] == [{reason: 1}, {LEFT_OUT: 1}, {LEFT_OUT: 1}]
    assert f"node 5 is left out of all further rounds: {reason}" in caplog.text
    booked = [int(state.ledger.steps.sum()) for state in federation.states()]
    assert sorted(booked) == [1, 3, 3, 3, 3]


@pytest.mark.slow
def test_three_rounds_in_a_row_without_a_sum_end_the_run(tmp_path) -> None:
    """Shares that cannot be opened prove no node at fault, so all nodes stay and pay for each round."""
    federation = Federation(tmp_path, 5, rounds=9)
    seen: list[dict[str, int]] = []
    with pytest.raises(UserError, match=r"no sum 3 rounds in a row, .*'secure-aggregation-unsound': 4"):
        federation.run(
            grid=corrupting(SHARE, garbled), on_round=lambda record, _: seen.append(record.invalid), rounds=9
        )
    assert seen == 3 * [{"secure aggregation: too few nodes": 1}]


@pytest.mark.slow
def test_a_round_with_a_sum_resets_the_count_of_failures(tmp_path) -> None:
    federation = Federation(tmp_path, 5, rounds=7)
    _, records = federation.run(grid=corrupting(SHARE, garbled, rounds=[1, 2, 4, 5, 7]), rounds=7)
    assert [record.answered for record in records] == [0, 0, 5, 0, 0, 5, 0]


@pytest.mark.parametrize("lost", ["identity-2-of-4", "roster"])
def test_a_node_without_identity_or_roster_does_not_take_part(lost, tmp_path) -> None:
    federation = Federation(tmp_path, 4)
    (federation.folder / lost).unlink()
    _, (record,) = federation.run()
    assert record.refused == {"secure-aggregation-unsound": 1 if lost != "roster" else 4}


def test_a_node_with_more_devices_than_its_roster_allows_does_not_take_part(tmp_path, caplog) -> None:
    """All others would refuse its advert, so it only logs the reason and records nothing."""
    federation = Federation(tmp_path, 4)
    group = federation.folder
    larger = tmp_path / "larger"
    DeviceGroup.create(
        larger, federation.catalogue, load("towels", DataOptions(devices=2)).events, policy=MAJORITY
    )
    (larger / "identity-0-of-1").write_bytes((group / "identity-3-of-4").read_bytes())
    (larger / "roster").write_bytes((group / "roster").read_bytes())

    class Grown(LosingGrid):
        def __init__(self, app, nodes: int, gone: Mapping[int, Iterable[int]]) -> None:
            super().__init__(terrycloth.client.app.make_app(), nodes, gone)
            for context in self._contexts.values():
                context.node_config["device-group"] = str(group)
            own = {"device-group": str(larger), "partition-id": 0, "num-partitions": 1}
            self._contexts[nodes].node_config.update(own)

    _, (record,) = federation.run(grid=Grown)
    assert record.answered == 3
    assert record.refused == {"secure-aggregation-unsound": 2}
    assert "allows this node devices=1, and its device group has 2" in caplog.text
    assert not (larger / "state-0-of-1.safetensors").exists()


def test_a_node_outside_the_roster_is_left_out(tmp_path) -> None:
    """A node outside the others' roster costs the round but corrupts nothing: their list differs."""
    federation = Federation(tmp_path, 4)
    roster = federation.folder / "roster"
    roster.write_text("\n".join(roster.read_text().splitlines()[:3]) + "\n")
    moved, (record,) = federation.run()
    assert record.refused == {"secure-aggregation-unsound": 1}
    assert record.answered == 3
    assert any(tensor.any() for tensor in moved.values())


def test_a_server_with_the_roster_leaves_strangers_out_at_no_cost(tmp_path) -> None:
    federation = Federation(tmp_path, 5)
    roster, stranger = federation.folder / "roster", federation.folder / "identity-4-of-5"
    stranger.unlink()
    Identity.new().save(stranger)
    own = tmp_path / "strangers-own"
    own.write_bytes(roster.read_bytes() + b"\n" + Identity.load(stranger).public)

    class Stranger(LosingGrid):
        def __init__(self, app, nodes: int, gone: Mapping[int, Iterable[int]]) -> None:
            super().__init__(app, nodes, gone)
            self._contexts[nodes].node_config["roster"] = str(own)

    _, (record,) = federation.run(grid=Stranger, roster=roster)
    assert record.answered == 4
    assert record.invalid == {"identity not in the roster": 1}
    assert not record.refused


def test_an_owner_may_require_more_nodes(tmp_path) -> None:
    """One node requires more nodes than there are: it leaves, and the others continue without it."""
    federation = Federation(tmp_path, 5, rounds=2)
    Policy(least_agreement=0.5, least_nodes=6).save(federation.folder)
    _, (record,) = federation.run()
    assert record.answered == 0
    assert record.refused == {"secure-aggregation-unsound": 5}
    Policy(least_agreement=0.5, least_nodes=5).save(federation.folder)
    _, (record,) = federation.run()
    assert record.answered == 5


def test_nodes_refuse_a_server_that_lists_less_than_half_of_the_roster(tmp_path) -> None:
    """The server lists two colluding nodes and a third that they attack: too few of the roster."""
    federation = Federation(tmp_path, 7, least_devices=2)
    moved, (record,) = federation.run({ADVERTISE: {0, 1, 2, 3}})
    assert all(not tensor.any() for tensor in moved.values())
    assert record.refused == {"secure-aggregation-unsound": 3}


def test_the_default_minimum_of_agreement_applies(tmp_path) -> None:
    federation = Federation(tmp_path, 4)
    Policy().save(federation.folder)
    _, (record,) = federation.run()
    assert record.refused == {"sum-below-floor": 4}


def test_a_relative_path_of_a_roster_is_refused(tmp_path, monkeypatch) -> None:
    """The working directory of an app holds what the server sent with it."""
    federation = Federation(tmp_path, 4)
    monkeypatch.chdir(federation.folder)
    monkeypatch.setenv("TERRYCLOTH_ROSTER", "roster")
    _, (record,) = federation.run()
    assert record.refused == {"secure-aggregation-unsound": 4}
    monkeypatch.setenv("TERRYCLOTH_ROSTER", str(federation.folder / "roster"))
    _, (record,) = federation.run()
    assert record.answered == 4
