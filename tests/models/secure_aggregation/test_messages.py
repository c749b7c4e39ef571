"""Messages survive the conversion to flat records and back, and signed bytes have one meaning only."""

from itertools import pairwise, product

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from terrycloth.models.secure_aggregation.messages import (
    Advert,
    AdvertList,
    Masked,
    ProtocolError,
    RelayedShares,
    statement,
)
from tests.secure_round import COLLECTORS, KINDS, STAGES, Rehearsal, new_task


def test_every_message_of_a_round_survives_flowers_records() -> None:
    rehearsal = Rehearsal(3)
    messages = dict.fromkeys(range(3))
    for stage, collect in zip(STAGES, COLLECTORS, strict=True):
        answers = rehearsal.answers(stage, messages)
        for answer in answers.values():
            record, vector = answer if stage == "mask" else (answer, None)
            content = RecordDict({"record": ConfigRecord(record)})
            if vector is not None:
                content["vector"] = ArrayRecord([vector])
            back = recorddict_from_proto(recorddict_to_proto(content))
            assert dict(back["record"]) == record
            if vector is not None:
                np.testing.assert_array_equal(back["vector"].to_numpy_ndarrays()[0], vector, strict=True)
        messages = getattr(rehearsal.server, collect)(answers)
        if stage != "unmask":
            message = messages[0]
            back = recorddict_from_proto(
                recorddict_to_proto(RecordDict({"m": ConfigRecord(message.to_dict())}))
            )
            assert type(message).from_dict(dict(back["m"])) == message
            assert isinstance(message, KINDS[STAGES[STAGES.index(stage) + 1]])


def test_an_empty_list_is_a_list() -> None:
    message = RelayedShares([], [])
    record = recorddict_from_proto(recorddict_to_proto(RecordDict({"m": ConfigRecord(message.to_dict())})))[
        "m"
    ]
    assert RelayedShares.from_dict(dict(record)) == message
    assert AdvertList.of([]).adverts() == []


@pytest.mark.parametrize(
    "record",
    [{}, {"signature": "text"}, {"signature": 1}, {"signature": b"", "more": 1}, {"signature": [b""]}],
)
def test_a_malformed_record_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="malformed Masked"):
        Masked.from_dict(record)


def test_adverts_come_back_in_order_of_names() -> None:
    adverts = [Advert(bytes([k]), k, b"s", b"m", b"c", b"sig") for k in range(5)]
    listed = AdvertList.of(adverts[::-1]).adverts()
    assert all(first.name < second.name for first, second in pairwise(listed))
    assert set(listed) == set(adverts)


def test_different_statements_are_signed_as_different_bytes() -> None:
    parts = [b"", b"a", b"b", b"ab", "a", "b", "", 0, 97, [], ["a"], ["", "a"], ["a", ""], [""], ["ab"]]
    statements = [statement("x", *pair) for pair in product(parts, parts)]
    statements += [statement("x", part) for part in parts] + [statement("y", part) for part in parts]
    statements += [
        statement("x", ["a", "b"], []),
        statement("x", ["a"], ["b"]),
        statement("x", [], ["a", "b"]),
    ]
    statements += [statement("x", b"a", b"b", b""), statement("x", b"", b"ab", b"")]
    assert len(set(statements)) == len(statements)


@pytest.mark.parametrize(
    "change",
    [{"session": b"short"}, {"width": 16}, {"length": 0}, {"length": 2**32}, {"round": -1}, {"round": 2**63}],
)
def test_a_task_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        new_task(**change)
