"""Rounds over cooperative nodes: sums, faults, the record of a round, and resuming after a stop."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

from terrycloth.experiments.engines.in_process import InProcessGrid
from terrycloth.models.errors import UserError
from terrycloth.models.privacy.accounting import epsilon_composed, epsilon_spent
from terrycloth.models.recommenders.recommender import Parameters
from terrycloth.models.secure_aggregation.fixed_point import fixed_point
from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import (
    BELOW_CLIP,
    EVALUATION,
    STEPS,
    Refusal,
    Reply,
    Request,
    pack_reply,
    unpack_request,
)
from terrycloth.server.checkpoint import RoundRecord
from terrycloth.server.replies import NODE_FAILED
from terrycloth.server.settings import ServerSettings
from terrycloth.server.strategy import LATE, TOO_FEW_SHARES, FederatedSum
from tests.models.test_settings import NO_PROMISE, VALID
from tests.secure_round import identity

START = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[0.5]])}
PLAIN = {"server_optimizer": "sgd", "server_learning_rate": 1.0, "server_momentum": 0.0}

Answer = Callable[[int, Request], "RecordDict | Error"]


@pytest.fixture(autouse=True)
def superlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what a SuperLink sets for a process that runs an app."""
    for name, value in (("_task_id", 1), ("_run_id", 1), ("_node_id", SUPERLINK_NODE_ID)):
        monkeypatch.setattr(TaskIdentity, name, value)


class Nodes:
    """Nodes 1 … n, which answer by a function of (node, request) and remember their requests."""

    def __init__(self, nodes: int, answer: Answer) -> None:
        self.asked: list[tuple[int, Request]] = []
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            request = unpack_request(message.content)
            self.asked.append((context.node_id, request))
            answered = answer(context.node_id, request)
            if isinstance(answered, Error):
                return Message(answered, reply_to=message)
            return Message(answered, reply_to=message)

        self.grid = InProcessGrid(app, {}, nodes)


def strategy(
    on_round: Callable[[RoundRecord, Parameters], None] | None = None,
    settings: dict[str, Any] | None = None,
    **server: Any,
) -> FederatedSum:
    asked = {**VALID, "round": 1, "rounds": 3, "participation": 0.5, **(settings or {})}
    return FederatedSum(
        START,
        RoundSettings.model_validate(asked),
        ServerSettings.model_validate({"catalogue": Path("c"), **PLAIN, **server}),
        on_round,
    )


def reply(
    request: Request, value: float, devices: int = 1, refused: dict[Refusal, int] | None = None
) -> RecordDict:
    """Return a reply in which every coordinate of the sum is `value`."""
    update = {name: torch.full_like(tensor, value) for name, tensor in request.parameters.items()}
    return pack_reply(Reply(request.settings.round, update, devices, refused or {}))


def test_a_round_by_hand() -> None:
    """Two nodes send 1 and 4, and q·N = 5, so three rounds of plain averaging add 1 each."""
    nodes = Nodes(2, lambda node, request: reply(request, 1.0 if node == 1 else 4.0))
    run = strategy(nodes=2)
    final = run.run(nodes.grid)
    assert final["a"].tolist() == [4.0, 5.0]
    assert final["b"].tolist() == [[3.5]]
    assert [record.answered for record in run.progress.records] == [2, 2, 2]
    assert [record.asked for record in run.progress.records] == [10, 10, 10]


def test_nodes_that_do_not_reply_in_time_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """Node 2 of three is always late: the others' 1 + 1 over q·N = 5 count, each round."""
    nodes = Nodes(3, lambda node, request: reply(request, 1.0))
    pull = nodes.grid.pull_messages
    nodes.grid.pull_messages = lambda ids: [each for each in pull(ids) if each.metadata.src_node_id != 2]
    run = strategy(nodes=3)
    final = run.run(nodes.grid)
    assert final["b"].item() == pytest.approx(0.5 + 3 * 2 / 5)
    assert [record.invalid for record in run.progress.records] == [{LATE: 1}] * 3
    assert caplog.messages.count(f"{LATE} from 2") == 3


def test_a_message_is_good_for_as_long_as_the_round_waits() -> None:
    nodes = Nodes(1, lambda node, request: reply(request, 1.0))
    push, seconds = nodes.grid.push_messages, []

    def pushing(messages: Any) -> Any:
        seconds.extend(message.metadata.ttl for message in messages)
        return push(messages)

    nodes.grid.push_messages = pushing
    strategy(timeout=7.0).run(nodes.grid)
    assert seconds == [7.0, 7.0, 7.0]


def test_how_many_devices_a_node_claims_does_not_change_the_step() -> None:
    one = strategy(nodes=2).run(Nodes(2, lambda node, request: reply(request, 2.0, devices=1)).grid)
    many = strategy(nodes=2).run(Nodes(2, lambda node, request: reply(request, 2.0, devices=2 * node)).grid)
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_each_request_has_the_model_after_the_previous_round_and_its_number() -> None:
    nodes = Nodes(1, lambda node, request: reply(request, 5.0))
    run = strategy()
    run.run(nodes.grid)
    assert [request.settings.round for _, request in nodes.asked] == [1, 2, 3]
    assert [request.parameters["a"].tolist() for _, request in nodes.asked] == [
        [1.0, 2.0],
        [2.0, 3.0],
        [3.0, 4.0],
    ]
    for _, request in nodes.asked:
        assert request.settings == run.settings.model_copy(update={"round": request.settings.round})


def test_every_node_is_asked_every_round() -> None:
    nodes = Nodes(5, lambda node, request: reply(request, 0.0))
    strategy().run(nodes.grid)
    asked = [node for node, _ in nodes.asked]
    assert [sorted(asked[start : start + 5]) for start in (0, 5, 10)] == [[1, 2, 3, 4, 5]] * 3


def hostile(request: Request) -> dict[str, RecordDict]:
    """Return replies that must not be added, by the reason that is counted."""
    good = reply(request, 100.0)
    shared = request.parameters
    number = request.settings.round
    wide = {**shared, "a": torch.zeros(1, 2)}
    nan = {**shared, "a": torch.tensor([math.nan, 0.0])}
    return {
        "not finite": pack_reply(Reply(number, nan, 1)),
        "wrong shape or type": pack_reply(Reply(number, wide, 1)),
        "unknown array": pack_reply(Reply(number, {**shared, "shopper.weight": torch.zeros(1)}, 1)),
        "missing array": pack_reply(Reply(number, {"a": shared["a"]}, 1)),
        "stale round": pack_reply(Reply(number - 1, shared, 1)),
        "unknown record": RecordDict({**good, "extra": ConfigRecord({"loss": 0.1})}),
        "more devices than a node has": reply(request, 1.0, devices=11),
        "norm above the bound": reply(request, 1e6),
        "unknown facts": RecordDict({**good, "reply": ConfigRecord({**good["reply"], "events": 12})}),
    }


@pytest.mark.parametrize("why", hostile(Request(START, RoundSettings.model_validate(VALID))))
def test_an_invalid_reply_is_counted_and_the_round_continues(why: str) -> None:
    def answer(node: int, request: Request) -> RecordDict:
        return hostile(request)[why] if node == 2 else reply(request, 2.5)

    run = strategy(nodes=3)
    final = run.run(Nodes(3, answer).grid)
    assert final["a"].tolist() == [4.0, 5.0]  # (2.5 + 2.5) / 5, three times
    for record in run.progress.records:
        assert record.invalid == {why: 1}
        assert record.answered == 2


@pytest.mark.parametrize(
    ("changes", "most"),
    [({"nodes": 5}, 2), ({"nodes": 4}, 3), ({"nodes": 1}, 10), ({"nodes": 5, "most_devices_a_node": 7}, 7),
     ({"most_devices_a_node": 99}, 10)],
)  # fmt: skip
@pytest.mark.parametrize("unit", ["interaction", "none", "shopper", "distributed"])
def test_a_reply_that_claims_more_devices_than_a_node_may_have_is_refused(
    changes: dict[str, int], most: int, unit: str
) -> None:
    """With ten devices behind five nodes each has two.

    One that claimed all ten could send ten times its share.
    """
    kinds: dict[str, dict[str, Any]] = {
        "none": NO_PROMISE,
        "shopper": {"unit": "shopper", "trust": "central", "clip": 100.0, "noise_multiplier": 0.0},
        "distributed": {**SHARES, "least_devices": 1},
        "interaction": {},
    }
    answer = in_steps if unit == "distributed" else reply

    def claiming(devices: int) -> RoundRecord:
        run = strategy(settings={**kinds[unit], "rounds": 1}, least_nodes=1, **changes)
        run.min_train_nodes = run.min_available_nodes = 1
        run.run(Nodes(1, lambda node, request: answer(request, 1.0, devices)).grid)
        return run.progress.records[0]

    assert claiming(most).invalid == {}
    assert claiming(most + 1).invalid == {"more devices than a node has": 1}


def test_bytes_that_numpy_reads_as_a_zip_file_do_not_end_the_run() -> None:
    def answer(node: int, request: Request) -> RecordDict:
        if node == 1:
            return reply(request, 5.0)
        zipped = Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=b"PK\x03\x04")
        good = reply(request, 0.0)
        return RecordDict({"update": ArrayRecord({**good["update"], "a": zipped}), "reply": good["reply"]})

    assert strategy(nodes=2).run(Nodes(2, answer).grid)["a"].tolist() == [4.0, 5.0]


def test_a_node_that_fails_is_counted_and_the_round_continues() -> None:
    def answer(node: int, request: Request) -> RecordDict | Error:
        return Error(code=1, reason="training failed") if node == 1 else reply(request, 5.0)

    run = strategy(nodes=2)
    assert run.run(Nodes(2, answer).grid)["a"].tolist() == [4.0, 5.0]
    assert [record.invalid for record in run.progress.records] == [{NODE_FAILED: 1}] * 3


def test_refusals_are_added_up_by_reason() -> None:
    def answer(node: int, request: Request) -> RecordDict:
        if node == 3:
            return pack_reply(Reply(request.settings.round, {}, 0, {Refusal.SETTINGS: 4}))
        return reply(request, 1.0, refused={Refusal.BUDGET: node})

    run = strategy(nodes=3)
    run.run(Nodes(3, answer).grid)
    assert run.progress.records[0].refused == {"budget-passed": 3, "settings-unknown": 4}
    assert run.progress.records[0].answered == 2


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_round_without_answers_does_not_change_the_model_but_is_accounted_for(optimizer: str) -> None:
    """Moments from earlier rounds do not change the model either: without a sum there is no step."""

    def answer(node: int, request: Request) -> RecordDict:
        number = request.settings.round
        return reply(request, 5.0) if number == 1 else pack_reply(Reply(number, {}, 0))

    seen: list[Parameters] = []
    run = strategy(
        lambda record, parameters: seen.append(parameters), server_optimizer=optimizer, server_momentum=0.9
    )
    run.run(Nodes(1, answer).grid)
    assert not torch.equal(seen[0]["a"], START["a"])
    assert torch.equal(seen[1]["a"], seen[0]["a"])
    assert torch.equal(seen[2]["a"], seen[0]["a"])
    assert [record.answered for record in run.progress.records] == [1, 0, 0]
    assert [record.round for record in run.progress.records] == [1, 2, 3]


@pytest.mark.slow
def test_the_record_has_the_accountants_epsilon_over_all_rounds_so_far() -> None:
    settings = {"noise_multiplier": 2.0, "sampling_rate": 0.25, "steps_per_round": 4, "delta": 1e-6}
    run = strategy(settings=settings)
    run.run(Nodes(1, lambda node, request: reply(request, 0.0)).grid)
    spent = [record.epsilon for record in run.progress.records]
    assert spent == [epsilon_spent(2.0, 0.25, steps, 1e-6).epsilon for steps in (4, 8, 12)]


def test_participation_does_not_amplify_under_local_trust() -> None:
    """The server sees who takes part, so a round costs its full ε, though a device is in few rounds."""
    for rate, covered in ((0.01, [1, 1, 1]), (0.5, [1, 2, 3]), (1.0, [1, 2, 3])):
        run = strategy(settings={"participation": rate})
        run.run(Nodes(1, lambda node, request: reply(request, 0.0)).grid)
        spent = [record.epsilon for record in run.progress.records]
        assert spent == [epsilon_spent(1.35, 0.25, 3 * rounds, 1e-5).epsilon for rounds in covered]


def test_a_failed_round_still_costs_epsilon() -> None:
    """Devices answered and their replies were lost, but what they released has left them."""
    run = strategy()
    run.run(Nodes(1, lambda node, request: Error(code=1, reason="lost")).grid)
    heard = strategy()
    heard.run(Nodes(1, lambda node, request: reply(request, 0.0)).grid)
    assert [r.epsilon for r in run.progress.records] == [r.epsilon for r in heard.progress.records]


def test_without_a_promise_there_is_no_epsilon() -> None:
    nothing = NO_PROMISE
    run = strategy(settings=nothing)
    run.run(Nodes(1, lambda node, request: reply(request, 0.0)).grid)
    assert [record.epsilon for record in run.progress.records] == [None] * 3


def test_the_record_counts_the_bytes_of_the_arrays_that_cross() -> None:
    sizes: list[int] = []

    def answer(node: int, request: Request) -> RecordDict:
        packed = reply(request, 0.0)
        sizes.append(sum(len(array.data) for array in packed["update"].values()))
        return packed

    run = strategy()
    run.run(Nodes(1, answer).grid)
    assert [record.bytes_up for record in run.progress.records] == sizes
    assert [record.bytes_down for record in run.progress.records] == sizes


def noisy(node: int, request: Request) -> RecordDict:
    """Return an update that depends on the request, so that a wrong resumption changes the result."""
    update = {
        name: torch.sin(tensor * request.settings.round + node) for name, tensor in request.parameters.items()
    }
    return pack_reply(Reply(request.settings.round, update, 1))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_resumed_run_equals_the_unbroken_one_to_the_bit(
    optimizer: str, stop_after: int, tmp_path: Path
) -> None:
    choices: dict[str, Any] = {"server_optimizer": optimizer, "server_momentum": 0.9, "nodes": 2}
    rounds = {"rounds": 5}
    unbroken = strategy(settings=rounds, **choices).run(Nodes(2, noisy).grid)

    def stop(record: RoundRecord, parameters: Parameters) -> None:
        if record.round == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        strategy(stop, rounds, folder=tmp_path, **choices).run(Nodes(2, noisy).grid)

    reported: list[int] = []
    resumed = strategy(
        lambda record, parameters: reported.append(record.round),
        rounds,
        folder=tmp_path,
        resume=True,
        **choices,
    )
    nodes = Nodes(2, noisy)
    final = resumed.run(nodes.grid)
    assert all(torch.equal(final[name], unbroken[name]) for name in unbroken)
    assert sorted({request.settings.round for _, request in nodes.asked}) == list(range(stop_after + 1, 6))
    assert reported == list(range(stop_after, 6)), "the round whose report was interrupted is reported again"
    assert resumed.progress.rounds_done == 5


def test_without_resume_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    strategy(folder=tmp_path).run(Nodes(1, noisy).grid)
    assert strategy(folder=tmp_path).progress.rounds_done == 0
    assert torch.equal(strategy(folder=tmp_path).shared()["a"], START["a"])


def test_a_run_is_not_resumed_under_other_settings(tmp_path: Path) -> None:
    strategy(folder=tmp_path).run(Nodes(1, noisy).grid)
    with pytest.raises(UserError, match="other settings"):
        strategy(settings={"noise_multiplier": 0.7}, folder=tmp_path, resume=True)
    assert strategy(folder=tmp_path, resume=True).progress.rounds_done == 3


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strategy().run(Nodes(1, noisy).grid)
    assert not list(tmp_path.iterdir())


def test_the_observer_gets_each_record_with_the_model_after_it() -> None:
    seen: list[tuple[int, list[float]]] = []
    run = strategy(lambda record, parameters: seen.append((record.round, parameters["a"].tolist())))
    run.run(Nodes(1, lambda node, request: reply(request, 5.0)).grid)
    assert seen == [(1, [2.0, 3.0]), (2, [3.0, 4.0]), (3, [4.0, 5.0])]


# Distributed trust without masks, the adaptive clip, and the evaluation round

SHARES = {
    "unit": "shopper",
    "trust": "distributed",
    "secure_aggregation": False,
    "devices": 10,
    "least_devices": 4,
}


def in_steps(request: Request, value: float, devices: int) -> RecordDict:
    """Return a reply of integers in which every coordinate of the sum is `value`."""
    update = {name: torch.full_like(tensor, value) for name, tensor in request.parameters.items()}
    grid = fixed_point(request.settings, 3)
    steps = grid.wrapped(grid.encode(update))
    return pack_reply(Reply(request.settings.round, {STEPS: steps}, devices))


def test_sums_of_integers_are_decoded() -> None:
    """The sums are 1 and 4 over q·N = 5, as in the round by hand, and also negative."""
    answers = {1: 1.0, 2: 4.0, 3: -5.0}
    nodes = Nodes(3, lambda node, request: in_steps(request, answers[node], 2))
    final = strategy(settings={**SHARES, "rounds": 1}, nodes=3).run(nodes.grid)
    assert final["a"].tolist() == pytest.approx([1.0, 2.0], abs=1e-3)
    nodes = Nodes(2, lambda node, request: in_steps(request, answers[node], 2))
    final = strategy(settings={**SHARES, "rounds": 1}, nodes=2).run(nodes.grid)
    assert final["a"].tolist() == pytest.approx([2.0, 3.0], abs=1e-3)


def test_a_sum_with_too_few_noise_shares_is_not_used() -> None:
    for devices, moved in ((2, True), (1, False)):  # two nodes: four devices, or two
        run = strategy(settings=SHARES, nodes=2)
        final = run.run(Nodes(2, lambda node, request, n=devices: in_steps(request, 1.0, n)).grid)
        assert torch.equal(final["a"], START["a"]) != moved
        records, reasons = run.progress.records, {} if moved else {TOO_FEW_SHARES: 2}
        assert [record.answered for record in records] == [4 if moved else 0] * 3
        assert [record.invalid for record in records] == [reasons] * 3


@pytest.mark.parametrize(("least", "reached"), [(5, True), (6, False)])
def test_nodes_are_not_asked_for_a_sum_that_they_would_refuse(
    least: int, reached: bool, tmp_path: Path
) -> None:
    """In a roster of 1, 4 and 5 devices the node with five may collude."""
    lines = [b"%s devices=%d" % (identity(k).public, count) for k, count in enumerate((1, 4, 5))]
    (tmp_path / "roster").write_bytes(b"\n".join(lines))
    settings = {**SHARES, "secure_aggregation": True, "least_devices": least}
    if reached:
        strategy(settings=settings, roster=tmp_path / "roster")
    else:
        with pytest.raises(UserError, match=r"least_devices = 6 is out of reach: if 1 of .* 5 devices"):
            strategy(settings=settings, roster=tmp_path / "roster")
    strategy(settings={**settings, "secure_aggregation": False}, roster=tmp_path / "roster")


def reply_below_clip(request: Request, part: float) -> RecordDict:
    """Return no update, and the sum of ±β/2 of ten devices, of which the share `part` is below the clip."""
    settings = request.settings
    total = settings.indicator * (part - 0.5) * settings.participation * settings.devices
    update = {name: torch.zeros_like(tensor) for name, tensor in request.parameters.items()}
    return pack_reply(Reply(settings.round, update | {BELOW_CLIP: torch.tensor([total])}, 10))


ADAPTED = {"unit": "shopper", "trust": "local", "clip_quantile": 0.5, "clip": 2.0}


def test_the_clip_is_adapted_each_round_and_survives_a_stop(tmp_path: Path) -> None:
    clips: list[float] = []

    def answer(node: int, request: Request) -> RecordDict:
        clips.append(request.settings.clip)
        return reply_below_clip(request, 1.0)

    strategy(settings=ADAPTED, folder=tmp_path).run(Nodes(1, answer).grid)
    assert clips == pytest.approx([2.0, 2.0 * math.exp(-0.1), 2.0 * math.exp(-0.2)], rel=1e-6)

    def stop(record: RoundRecord, parameters: Parameters) -> None:
        raise KeyboardInterrupt

    clips.clear()
    other = tmp_path / "stopped"
    other.mkdir()
    with pytest.raises(KeyboardInterrupt):
        strategy(stop, ADAPTED, folder=other).run(Nodes(1, answer).grid)
    strategy(settings=ADAPTED, folder=other, resume=True).run(Nodes(1, answer).grid)
    assert clips == pytest.approx([2.0, 2.0 * math.exp(-0.1), 2.0 * math.exp(-0.2)], rel=1e-6)


def test_devices_evaluate_after_the_last_round_and_the_model_does_not_change() -> None:
    asked: list[int] = []

    def answer(node: int, request: Request) -> RecordDict:
        asked.append(request.settings.round)
        if not request.settings.evaluates:
            return reply(request, 5.0)
        counts = dict(zip(EVALUATION, torch.tensor([8.0, 2.0, 1.5]).split(1), strict=True))
        return pack_reply(Reply(request.settings.round, counts, 10))

    measured = {"evaluate": True, "evaluation_noise": 3.0}
    run = strategy(settings=measured)
    final = run.run(Nodes(1, answer).grid)
    assert asked == [1, 2, 3, 4]
    assert torch.equal(final["a"], strategy().run(Nodes(1, lambda n, request: reply(request, 5.0)).grid)["a"])
    records = run.progress.records
    assert [record.evaluation for record in records[:3]] == [None] * 3
    assert records[3].evaluation == {"tested": 8.0, "hits": 2.0, "gains": 1.5}
    history = ((1.35, 0.25, 9), (3.0, 1.0, 1))
    assert records[-1].epsilon == epsilon_composed(history, 1e-5).epsilon > (records[2].epsilon or 0)
