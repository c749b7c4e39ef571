"""Ten thousand replies that no honest node sends: each is refused, counted and named, and the sum stays."""

import io
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from terrycloth.models.update import InvalidReply, Reply, Request, check_size, pack_reply, unpack_reply
from terrycloth.server.replies import NODE_FAILED, NOT_ASKED, SECOND
from tests.server.test_strategy import START, Nodes, reply, strategy, superlink  # noqa: F401 (a fixture)

HONEST = 2
ROUNDS = 2
Fuzz = Callable[[random.Random, RecordDict], RecordDict]

STRANGE: list[Any] = [-1, 2, 0, 10**18, 1.0, math.nan, True, "1", "", b"\x00", [1, 2], [math.inf], ["a"]]
TYPES = ["<f8", "<f2", ">f4", "<i4", "<i8", "<c8", "|b1", "<U3", "|S4", "<M8[s]", "|u1"]


def facts(content: RecordDict, **changes: Any) -> RecordDict:
    return RecordDict({**content, "reply": ConfigRecord({**content["reply"], **changes})})


def arrays(content: RecordDict, **changes: Array | None) -> RecordDict:
    changed = {**content["update"], **changes}
    kept = {name: array for name, array in changed.items() if array is not None}
    return RecordDict({**content, "update": ArrayRecord(kept)})


def raw(data: bytes, stype: str = "numpy.ndarray") -> Array:
    return Array(dtype="float32", shape=(2,), stype=stype, data=data)


def another_protocol(draw: random.Random, good: RecordDict) -> RecordDict:
    if draw.random() < 0.2:
        return RecordDict({**good, "reply": ConfigRecord({"round": good["reply"]["round"], "answered": 1})})
    return facts(good, protocol=draw.choice(STRANGE))


def another_round(draw: random.Random, good: RecordDict) -> RecordDict:
    now = good["reply"]["round"]
    others = [value for value in STRANGE if not (type(value) is int and value == now)]
    return facts(good, round=draw.choice([*others, now - 1, now + 1]))


def strange_counts(draw: random.Random, good: RecordDict) -> RecordDict:
    value = draw.choice([value for value in STRANGE if type(value) is not int or not 0 <= value <= 1])
    named = draw.choice(["answered", "refused.budget-passed", f"refused.{draw.random()}", "loss"])
    value = -1 if named == "refused.budget-passed" and type(value) is int else value  # any count is allowed
    return facts(good, **{named: value})


def garbage(draw: random.Random, good: RecordDict) -> RecordDict:
    start = draw.choice([b"", b"\x00", b"PK\x03\x04", b"\x80\x04", b"\x93NUMPX"])
    data = start + draw.randbytes(draw.randrange(300))
    return arrays(good, a=raw(b"?" + data if data.startswith(b"\x93NUMPY") else data))


def cut_or_longer(draw: random.Random, good: RecordDict) -> RecordDict:
    data = good["update"]["a"].data
    if draw.random() < 0.5:
        return arrays(good, a=raw(data[: draw.randrange(len(data))]))
    return arrays(good, a=raw(data + draw.randbytes(draw.randrange(1, 50))))


def pickled(draw: random.Random, good: RecordDict) -> RecordDict:
    """Content that would run code if anybody unpickled it."""
    bomb = io.BytesIO()
    np.save(bomb, np.array([Bomb(), Bomb()], dtype=object), allow_pickle=True)
    return arrays(
        good,
        a=draw.choice([raw(bomb.getvalue()), raw(pickle.dumps(Bomb())), raw(pickle.dumps(Bomb()), "pickle")]),
    )


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return exploded, ()


def exploded() -> None:
    raise SystemExit("a reply was unpickled")


def not_finite(draw: random.Random, good: RecordDict) -> RecordDict:
    values = np.array([draw.uniform(-1, 1), draw.choice([math.nan, math.inf, -math.inf])], dtype=np.float32)
    return arrays(good, a=Array(draw.choice([values, values[::-1].copy()])))


def huge(draw: random.Random, good: RecordDict) -> RecordDict:
    values = np.full(2, draw.choice([-1, 1]) * 10.0 ** draw.randrange(5, 38), dtype=np.float32)
    return arrays(good, a=Array(values))


def another_shape(draw: random.Random, good: RecordDict) -> RecordDict:
    shape = draw.choice([(), (1,), (3,), (1, 2), (2, 1), (2, 2), (0,), (1, 1, 2), (1000,)])
    return arrays(good, a=Array(np.zeros(shape, dtype=np.float32)))


def another_type(draw: random.Random, good: RecordDict) -> RecordDict:
    return arrays(good, a=Array(np.zeros(2, dtype=draw.choice(TYPES))))


def other_names(draw: random.Random, good: RecordDict) -> RecordDict:
    name = "".join(chr(draw.randrange(32, 0x2FFF)) for _ in range(draw.randrange(2, 30)))
    array = good["update"]["a"]
    return arrays(good, **draw.choice([{"a": None}, {name: array}, {"a": None, name: array}, {"": array}]))


def other_records(draw: random.Random, good: RecordDict) -> RecordDict:
    return draw.choice(
        [
            RecordDict(),
            RecordDict({"update": good["update"]}),
            RecordDict({**good, "more": MetricRecord({"loss": 0.5})}),
            RecordDict({"update": good["reply"], "reply": good["update"]}),
            RecordDict({**good, "update": ConfigRecord({"a": [1.0, 2.0]})}),
            RecordDict({**good, "reply": MetricRecord({"protocol": 1, "answered": 1})}),
            RecordDict({**good, f"{draw.random()}": ArrayRecord({})}),
        ]
    )


def more_devices(draw: random.Random, good: RecordDict) -> RecordDict:
    return facts(good, answered=draw.randrange(2, 2**62))


def no_devices(draw: random.Random, good: RecordDict) -> RecordDict:
    return facts(good, answered=0)


FUZZ: dict[Fuzz, set[str]] = {
    another_protocol: {"another protocol"},
    another_round: {"stale round"},
    strange_counts: {"unknown facts", "more devices than a node has"},
    garbage: {"unreadable array"},
    cut_or_longer: {"unreadable array", "wrong size"},
    pickled: {"unreadable array"},
    not_finite: {"not finite"},
    huge: {"norm above the bound"},
    another_shape: {"wrong shape or type", "wrong size"},
    another_type: {"wrong shape or type", "wrong size", "unreadable array"},
    other_names: {"unknown array", "missing array"},
    other_records: {"unknown record"},
    more_devices: {"more devices than a node has"},
    no_devices: {"2 arrays where no device took part"},
}


@pytest.mark.parametrize("replies", [280, pytest.param(10_000, marks=pytest.mark.slow)])
def test_hostile_replies_are_refused_counted_and_named(
    replies: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Two honest nodes send 2.5 a coordinate, so a round adds (2.5 + 2.5) / 5, whatever others send."""
    draw = random.Random(replies)
    kinds = list(FUZZ)
    drawn: list[Fuzz] = []
    nodes = HONEST + replies // ROUNDS

    def answer(node: int, request: Request) -> RecordDict:
        if node <= HONEST:
            return reply(request, 2.5)
        drawn.append(kinds[len(drawn) % len(kinds)])
        return drawn[-1](draw, reply(request, draw.uniform(-1, 1)))

    run = strategy(settings={"rounds": ROUNDS}, nodes=nodes)
    final = run.run(Nodes(nodes, answer).grid)
    assert final["a"].tolist() == [1.0 + ROUNDS, 2.0 + ROUNDS]
    assert final["b"].item() == 0.5 + ROUNDS
    assert len(drawn) == replies
    counted: Counter[str] = Counter()
    for record in run.progress.records:
        assert record.answered == HONEST
        assert sum(record.invalid.values()) == replies // ROUNDS
        counted.update(record.invalid)
    assert counted.keys() <= set().union(*FUZZ.values())
    for kind, reasons in FUZZ.items():
        assert sum(counted[reason] for reason in reasons) >= drawn.count(kind), kind.__name__
    named = Counter(message.split(":")[0] for message in caplog.messages)
    for node in range(HONEST + 1, nodes + 1):
        assert named[f"refused a reply of node {node}"] == ROUNDS


def test_bytes_that_are_flipped_anywhere_give_a_reply_within_bounds_or_none() -> None:
    """A flipped digit of a number is still a number: what is accepted is finite and within the bound."""
    draw = random.Random(3)
    request = Request(START, strategy().settings)
    kept = 0
    for _ in range(500):
        good = reply(request, 1.0)
        data = bytearray(good["update"]["a"].data)
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            read = unpack_reply(arrays(good, a=raw(bytes(data))), START, request.settings.round)
            check_size(read, request.settings, 10)
        except InvalidReply:
            continue
        kept += 1
        assert read.update["a"].shape == (2,)
        assert bool(read.update["a"].isfinite().all())
    assert 0 < kept < 250


def test_only_the_first_reply_of_a_node_that_was_asked_counts(caplog: pytest.LogCaptureFixture) -> None:
    """Node 2 replies twice, and once more in round 2; another reply is in the name of node 9."""
    nodes = Nodes(3, lambda node, request: reply(request, 1.0))
    pull, first = nodes.grid.pull_messages, {}

    def pulled(ids: Any) -> list[Message]:
        if not (found := list(pull(ids))):  # the evaluation that Flower leaves out
            return found
        round = found[0].content["reply"]["round"]
        again, foreign = (Message(found[1].content, reply_to=asking(node)) for node in (2, 9))
        first.setdefault("reply", again)
        return [*found, again, foreign] if round == 1 else [first["reply"], found[0], found[2], found[1]]

    def asking(node: int) -> Message:
        return Message(RecordDict(), node, "train")

    nodes.grid.pull_messages = pulled
    run = strategy(settings={"rounds": 2}, nodes=3)
    final = run.run(nodes.grid)
    assert [record.invalid for record in run.progress.records] == [
        {SECOND: 1, NOT_ASKED: 1},
        {"stale round": 1, SECOND: 1},
    ]
    assert final["b"].item() == pytest.approx(0.5 + 3 / 5 + 2 / 5)
    assert f"refused a reply of node 9: {NOT_ASKED}" in caplog.messages
    assert "refused a reply of node 2: stale round" in caplog.messages


def test_what_a_node_writes_as_the_reason_of_its_error_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(node: int, request: Request) -> RecordDict | Error:
        return reply(request, 5.0) if node == 1 else Error(code=77, reason="a secret\nfalse line of the log")

    run = strategy(nodes=2)
    assert run.run(Nodes(2, answer).grid)["a"].tolist() == [4.0, 5.0]
    assert [record.invalid for record in run.progress.records] == [{NODE_FAILED: 1}] * 3
    assert "node 2 failed with error 77" in caplog.messages
    assert "false line" not in caplog.text


def test_a_reply_for_another_run_of_the_model_is_an_ordinary_wrong_shape() -> None:
    other = pack_reply(Reply(1, {"a": torch.zeros(3), "b": torch.zeros(1, 1)}, 1))
    with pytest.raises(InvalidReply, match="wrong size"):
        unpack_reply(other, START, 1)
