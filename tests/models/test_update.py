"""What may cross between a device and the server, and every way in which a reply can be wrong."""

import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from terrycloth.models.settings import RoundSettings
from terrycloth.models.update import (
    EVALUATION,
    InvalidReply,
    Refusal,
    Reply,
    check_size,
    from_arrays,
    pack_reply,
    to_arrays,
    unpack_reply,
    unpack_request,
)
from tests.models.test_settings import NO_PROMISE, VALID

SHARED = {"table.weight": torch.zeros(3, 2), "bias.weight": torch.zeros(3, 1)}
UPDATE = {"table.weight": torch.arange(6.0).view(3, 2), "bias.weight": torch.tensor([[1.0], [-2.0], [0.5]])}
ROUND = 4


def content(update: dict[str, Any] = UPDATE, **facts: Any) -> RecordDict:
    """Build a valid reply with some facts changed; a fact that is None is left out."""
    stated = {"protocol": 1, "round": ROUND, "answered": 3, **facts}
    return RecordDict(
        {
            "update": ArrayRecord({name: Array(np.asarray(values)) for name, values in update.items()}),
            "reply": ConfigRecord({name: value for name, value in stated.items() if value is not None}),
        }
    )


def reason(wrong: RecordDict) -> str:
    with pytest.raises(InvalidReply) as caught:
        unpack_reply(wrong, SHARED, ROUND)
    return str(caught.value)


def with_bytes(data: bytes) -> RecordDict:
    """Build a reply whose table holds these bytes, with a header of the expected type and shape."""
    wrong = content()
    arrays = ArrayRecord(dict(wrong["update"]))
    arrays["table.weight"] = Array(dtype="float32", shape=(3, 2), stype="numpy.ndarray", data=data)
    return RecordDict({"update": arrays, "reply": wrong["reply"]})


def header(shape: tuple[int, ...]) -> bytes:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return text.getvalue()


def same_reply(one: Reply, other: Reply) -> bool:
    return (
        (one.round, one.answered, one.refused) == (other.round, other.answered, other.refused)
        and one.update.keys() == other.update.keys()
        and all(torch.equal(tensor, other.update[name]) for name, tensor in one.update.items())
    )


@pytest.mark.parametrize(
    "reply",
    [
        Reply(ROUND, UPDATE, 3),
        Reply(ROUND, UPDATE, 1, {Refusal.BUDGET: 2}),
        Reply(ROUND, {}, 0, {Refusal.SETTINGS: 5, Refusal.MODEL: 1}),
        Reply(ROUND, {}, 0),
    ],
)
def test_unpacking_is_the_inverse_of_packing(reply: Reply) -> None:
    assert same_reply(unpack_reply(pack_reply(reply), SHARED, ROUND), reply)


@given(
    answered=st.integers(1, 10**9),
    refused=st.dictionaries(st.sampled_from(Refusal), st.integers(0, 10**9)),
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=9, max_size=9),
)
def test_unpacking_is_the_inverse_of_packing_for_any_numbers(
    answered: int, refused: dict[Refusal, int], values: list[float]
) -> None:
    numbers = torch.tensor(values)
    update = {"table.weight": numbers[:6].view(3, 2), "bias.weight": numbers[6:].view(3, 1)}
    reply = Reply(ROUND, update, answered, refused)
    assert same_reply(unpack_reply(pack_reply(reply), SHARED, ROUND), reply)


def test_a_reply_holds_the_update_and_public_facts_and_nothing_else() -> None:
    packed = pack_reply(Reply(ROUND, UPDATE, 3, {Refusal.BUDGET: 2}))
    assert set(packed) == {"update", "reply"}
    assert dict(packed["reply"]) == {
        "protocol": 1,
        "round": ROUND,
        "answered": 3,
        "refused.budget-passed": 2,
    }
    assert set(packed["update"]) == set(SHARED)
    size = sum(len(array.data) for array in packed["update"].values())
    other = pack_reply(Reply(ROUND, {name: torch.zeros_like(t) for name, t in SHARED.items()}, 3))
    assert size == sum(len(array.data) for array in other["update"].values()), "the size depends on values"


def test_a_valid_reply_passes() -> None:
    assert same_reply(unpack_reply(content(), SHARED, ROUND), Reply(ROUND, UPDATE, 3))


@pytest.mark.parametrize(
    ("update", "why"),
    [
        ({**UPDATE, "shopper.weight": torch.zeros(1, 2)}, "unknown array"),
        ({"table.weight": UPDATE["table.weight"]}, "missing array"),
        ({}, "missing array"),
        ({**UPDATE, "table.weight": torch.zeros(3, 3)}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": torch.zeros(1, 2)}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": torch.zeros(6)}, "wrong (size|shape or type)"),
        ({**UPDATE, "bias.weight": torch.zeros(3)}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": np.zeros((3, 2))}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": np.zeros((3, 2), dtype=np.float16)}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": np.zeros((3, 2), dtype=np.int32)}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": np.zeros((3, 2), dtype=np.complex64)}, "wrong (size|shape or type)"),
        ({**UPDATE, "table.weight": np.zeros((3, 2), dtype=">f4")}, "unreadable array"),
        ({**UPDATE, "table.weight": np.full((3, 2), "secret")}, "unreadable array"),
        ({**UPDATE, "bias.weight": torch.tensor([[0.0], [torch.nan], [0.0]])}, "not finite"),
        ({**UPDATE, "bias.weight": torch.tensor([[0.0], [torch.inf], [0.0]])}, "not finite"),
        ({**UPDATE, "bias.weight": torch.tensor([[0.0], [-torch.inf], [0.0]])}, "not finite"),
    ],
)
def test_a_wrong_update_is_refused(update: dict[str, Any], why: str) -> None:
    assert re.fullmatch(why, reason(content(update)))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"protocol": 2}, "another protocol"),
        ({"protocol": None}, "another protocol"),
        ({"round": ROUND - 1}, "stale round"),
        ({"round": ROUND + 1}, "stale round"),
        ({"round": None}, "stale round"),
        ({"answered": None}, "unknown facts"),
        ({"answered": -1}, "unknown facts"),
        ({"answered": 3.0}, "unknown facts"),
        ({"answered": True}, "unknown facts"),
        ({"answered": "3"}, "unknown facts"),
        ({"loss": 0.25}, "unknown facts"),
        ({"num-examples": 12}, "unknown facts"),
        ({"refused.hungry": 1}, "unknown facts"),
        ({"refused.budget-passed": -1}, "unknown facts"),
        ({"refused.budget-passed": 1.5}, "unknown facts"),
        ({"refused.budget-passed": [1, 2]}, "unknown facts"),
    ],
    ids=str,
)
def test_wrong_facts_are_refused(facts: dict[str, Any], why: str) -> None:
    assert reason(content(**facts)) == why


def test_an_update_without_any_device_is_refused() -> None:
    assert reason(content(answered=0)) == "2 arrays where no device took part"


def test_a_record_too_many_too_few_or_of_another_kind_is_refused() -> None:
    valid = content()
    for wrong in (
        RecordDict({**valid, "metrics": MetricRecord({"loss": 0.5})}),
        RecordDict({"update": valid["update"]}),
        RecordDict({"reply": valid["reply"]}),
        RecordDict(),
        RecordDict({**valid, "update": ConfigRecord({"table.weight": 1.0})}),
        RecordDict({**valid, "reply": MetricRecord({"protocol": 1, "round": ROUND, "answered": 3})}),
    ):
        assert reason(wrong) == "unknown record"


def test_bytes_behind_the_numbers_are_refused() -> None:
    good = content()["update"]["table.weight"].data
    assert reason(with_bytes(good + b"secret")) == "wrong size"
    assert unpack_reply(with_bytes(good), SHARED, ROUND).answered == 3


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"\x93NUMPY", header((3, 2)), header((3, 2)) + bytes(23)], ids=repr
)
def test_bytes_that_are_no_array_are_refused(data: bytes) -> None:
    assert reason(with_bytes(data)) == "unreadable array"


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04",  # zipfile.BadZipFile
        header((10**15,)),  # MemoryError
        header((10**30,)),  # OverflowError
        header((3, 2)).replace(b"'shape': (3, 2)", b"'shape': (3, 2 "),  # tokenize.TokenError
    ],
    ids=["zip", "vast", "vaster", "broken-header"],
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    assert reason(with_bytes(data)) == "unreadable array"


def test_an_array_of_another_serialisation_is_refused() -> None:
    wrong = content()
    arrays = ArrayRecord(dict(wrong["update"]))
    good = arrays["table.weight"]
    arrays["table.weight"] = Array(dtype=good.dtype, shape=good.shape, stype="pickle", data=good.data)
    assert reason(RecordDict({"update": arrays, "reply": wrong["reply"]})) == "unreadable array"


def test_a_reason_contains_no_value_of_the_reply() -> None:
    """Reasons are logged and counted, so nothing that a node writes may get into them."""
    for wrong in (
        content({**UPDATE, "secret-7": torch.zeros(1)}),
        content(**{"secret-7": 1}),
        content(round=777),
        with_bytes(b"secret-7"),
    ):
        why = reason(wrong)
        assert "7" not in why
        assert "secret" not in why


def test_arrays_round_trip_in_single_precision_and_own_their_memory() -> None:
    source = {"a": torch.tensor([1.5, -2.0], dtype=torch.float64), "b": torch.ones(2, 3).T}
    back = from_arrays(to_arrays(source))
    assert back["a"].dtype == torch.float32
    assert back["a"].tolist() == [1.5, -2.0]
    assert torch.equal(back["b"], torch.ones(3, 2))
    back["a"] += 1.0
    assert source["a"].tolist() == [1.5, -2.0]


def test_received_arrays_are_contiguous_whatever_layout_a_server_sends() -> None:
    """Otherwise a loop compiled for one memory layout would have to be compiled again for another."""
    sent = ArrayRecord({"table": Array(np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)))})
    table = from_arrays(sent)["table"]
    assert table.is_contiguous()
    assert table.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_a_request_survives_the_record_and_malformed_requests_are_refused() -> None:
    settings = RoundSettings.model_validate(VALID)
    asked = RecordDict({"arrays": to_arrays(UPDATE), "config": settings.to_record()})
    request = unpack_request(asked)
    assert request.settings == settings
    assert all(torch.equal(tensor, UPDATE[name]) for name, tensor in request.parameters.items())
    with pytest.raises(KeyError):
        unpack_request(RecordDict({"arrays": to_arrays(UPDATE)}))
    with pytest.raises(ValueError, match="a request must hold"):
        unpack_request(RecordDict({"arrays": settings.to_record(), "config": settings.to_record()}))
    with pytest.raises(ValueError, match="protocol"):
        unpack_request(
            RecordDict(
                {"arrays": to_arrays(UPDATE), "config": ConfigRecord({**settings.to_record(), "protocol": 2})}
            )
        )


def test_a_request_with_parameters_that_are_not_finite_can_be_read() -> None:
    """Otherwise the device group could not refuse it as Refusal.MODEL, but as an unknown protocol."""
    wrong = {**UPDATE, "bias.weight": torch.tensor([[0.0], [torch.nan], [0.0]])}
    settings = RoundSettings.model_validate(VALID)
    request = unpack_request(RecordDict({"arrays": to_arrays(wrong), "config": settings.to_record()}))
    assert request.parameters["bias.weight"].isnan().tolist() == [[False], [True], [False]]


# With η = 0.1, C = 1, σ = 1.35, 3 steps and nine coordinates, what a device learned has norm 0.3 · 10,000 at
# most. The noise of n devices has the deviation √(3n) · 0.135 in each coordinate; χ² of 9 degrees of freedom
# is rarely above 60.66.
LEARNED, NOISE = 0.3 * 10_000, 0.135 * 3**0.5 * 60.6603**0.5


def check_norm(norm: float, answered: int = 1, **changes: Any) -> None:
    """Check an update of nine coordinates with this norm, spread over both arrays."""
    update = {name: torch.full_like(tensor, norm / 3.0) for name, tensor in SHARED.items()}
    settings = RoundSettings.model_validate({**VALID, **changes})
    check_size(Reply(ROUND, update, answered), settings, 10, 10_000)


def assert_largest_norm(norm: float, answered: int = 1, **changes: Any) -> None:
    check_norm(0.999 * norm, answered, **changes)
    with pytest.raises(InvalidReply, match="norm above the bound"):
        check_norm(1.001 * norm, answered, **changes)


@pytest.mark.parametrize("answered", [1, 4, 10])
def test_an_update_may_be_as_large_as_its_devices_can_make_it_and_no_larger(answered: int) -> None:
    assert_largest_norm(answered * LEARNED + answered**0.5 * NOISE, answered)


@pytest.mark.parametrize(
    ("name", "factor", "on_noise"),
    [("learning_rate", 2.0, 2.0), ("steps_per_round", 2, 2**0.5), ("clip", 2.0, 2.0)],
    ids=str,
)
def test_the_bound_grows_with_the_settings_that_enlarge_an_update(
    name: str, factor: float, on_noise: float
) -> None:
    assert_largest_norm(factor * LEARNED + on_noise * NOISE, **{name: VALID[name] * factor})


CHI = {3: 44.8413**0.5, 9: 60.6603**0.5}  # exceeded with a chance of 1e-9


@pytest.mark.parametrize(
    ("changes", "largest"),
    [
        ({"unit": "shopper", "trust": "central", "clip": 2.0}, 2.0),
        ({"unit": "shopper", "clip": 2.0}, 2.0 + 2.0 * 1.35 * CHI[9]),
        ({"unit": "shopper", "clip": 2.0, "noise_multiplier": 0.0}, 2.0),
        ({**NO_PROMISE, "model": "mf"}, 1e5),
        ({**NO_PROMISE, "model": "attributes"}, 1e5),
        ({**NO_PROMISE, "model": "neural-cf"}, 0.3 * 1e5),
        ({**NO_PROMISE, "model": "linear", "rounds": 2, "head_size": 3}, 1.0),
    ],
    ids=str,
)
def test_the_largest_update_of_one_device(changes: dict[str, Any], largest: float) -> None:
    assert_largest_norm(largest, **changes)


@pytest.mark.parametrize(
    ("changes", "noised"),
    [({}, True), ({"unit": "shopper"}, True), ({"unit": "shopper", "trust": "central"}, False),
     (NO_PROMISE, False)],
)  # fmt: skip
@pytest.mark.parametrize("answered", [1, 10])
def test_an_evaluation_reply_has_three_counts_of_at_most_one_a_device(
    changes: dict[str, Any], noised: bool, answered: int
) -> None:
    noise = 0.0 if changes is NO_PROMISE else 5.0
    measured = {**VALID, **changes, "round": 6, "evaluate": True, "evaluation_noise": noise}
    settings = RoundSettings.model_validate(measured)
    largest = 3**0.5 * (answered + noised * noise * answered**0.5 * CHI[3])

    def counted(norm: float) -> None:
        update = {name: torch.full((1,), norm / 3**0.5) for name in EVALUATION}
        check_size(Reply(6, update, answered), settings, 10)

    counted(0.999 * largest)
    with pytest.raises(InvalidReply, match="norm above the bound"):
        counted(1.001 * largest)


def test_noise_of_the_requested_size_is_accepted() -> None:
    """σ = 10⁶ over 40 devices: the noise's norm is far above what gradients alone could reach."""
    many = {"noise_multiplier": 1e6, "steps_per_round": 1, "devices": 40}
    settings = RoundSettings.model_validate({**VALID, **many})
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, 4, generator=generator) * 0.1 * 1e6 * 40**0.5
    assert noise.norm() > 0.1 * 40 * 10_000
    check_size(Reply(ROUND, {"table.weight": noise}, 40), settings, 40)


@pytest.mark.parametrize("most", [1, 3, 10])
def test_a_reply_of_more_devices_than_a_node_has_is_refused(most: int) -> None:
    for settings in (VALID, {**VALID, **NO_PROMISE}, {**VALID, "unit": "shopper", "trust": "distributed"}):
        asked = RoundSettings.model_validate(settings)
        check_size(Reply(ROUND, {}, most), asked, most)
        with pytest.raises(InvalidReply, match="more devices than a node has"):
            check_size(Reply(ROUND, {}, most + 1), asked, most)


def test_a_reply_without_any_device_is_accepted() -> None:
    for settings in (VALID, {**VALID, **NO_PROMISE}):
        reply = Reply(ROUND, {}, 0, {Refusal.BUDGET: 3})
        check_size(reply, RoundSettings.model_validate(settings), 10)
